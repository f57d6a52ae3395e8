# SPDX-License-Identifier: Apache-2.0
"""Programs of random instructions that depend on each other as those of a network do."""

import numpy as np

from moevit.spec.isa import (
    Destination,
    Opcode,
    Operand,
    Peak,
    Region,
    RowSource,
    Saturation,
    WeightSource,
    encode,
)

OUTPUT_BYTES = 8192


class Program:
    """Random instructions that depend on each other as those of a network do, and the bytes that they stream."""

    def __init__(self, config, seed):
        print(f"{config.name}, seed {seed}")
        self.config, self.random = config, np.random.default_rng(seed)
        self.words, self.image = [], bytearray()
        self.regions = {Region.WEIGHTS: bytearray(), Region.GATES: bytearray()}
        self.names = []
        self.stored = 0
        self.tops = {}

    def between(self, low, high):
        return int(self.random.integers(low, high + 1))

    def chance(self, share=0.5):
        return int(self.random.random() < share)

    def place(self, memory, words):
        """Room for ``words`` in a memory, apart from what this phrase uses already."""
        first = self.tops.get(memory, 0) + self.between(0, 3)
        self.tops[memory] = first + words
        return first

    def add(self, **fields):
        self.names.append(Opcode(fields["opcode"]).name)
        self.words.append(encode(**fields))

    def region(self, content, region=Region.WEIGHTS):
        """Bytes for a region, and the fields that name them."""
        size = self.config.bus_bytes
        at = len(self.regions[region])
        self.regions[region] += content
        assert not len(content) % size
        return {"region": region, "region_offset": at, "region_beats": len(content) // size}

    def s16(self, *shape):
        return self.random.integers(-32768, 32768, shape).astype("<i2")

    def load(self, rows, k, small=False):
        copies, stride = self.chance(0.3) * self.between(1, 2), rows * k + self.between(0, 3)
        base = self.place("residual", copies * stride + rows * k)
        content = self.s16(rows * k, self.config.k_lanes)
        if small:  # within what a norm sees in a network
            content >>= self.between(0, 8)
        self.add(opcode=Opcode.LOAD, rows=rows, k_tiles=k, destination_base=base, copies=copies,
                 destination_stride=stride, **self.region(content.tobytes()))
        return {"rows": rows, "k_tiles": k, "source": RowSource.RESIDUAL,
                "source_base": base + self.between(0, copies) * stride, "source_stride": k}

    def norm(self, source):
        """Statistics of rows whose lanes beyond dim are zero because all are used."""
        dim = source["k_tiles"] * self.config.k_lanes
        gain = self.s16(dim)
        rows = {name: source[name] for name in ("rows", "k_tiles", "source_base", "source_stride")}
        copy = {"copy": 1, "destination_base": self.place("residual", rows["rows"] * rows["k_tiles"])} \
            if self.chance() else {}
        self.add(opcode=Opcode.NORM, dim=dim, inverse_dim=(1 << 24) // dim, epsilon=self.between(1, 1 << 20), **rows,
                 **copy, **self.region(gain.tobytes()))
        return source | {"operand": Operand.NORM}

    def tiles(self, n_tiles, k_tiles, constant=0, experts=1, region=Region.WEIGHTS):
        """Column parameters and tiles of a pass, for each expert."""
        size, content = self.config.n_lanes, b""
        for _ in range(n_tiles * experts):
            if not constant:
                columns = np.stack([self.random.integers(0, 65536, size).astype(np.uint16),
                                    self.s16(size).view(np.uint16)], axis=1)
                content += columns.astype("<u2").tobytes()
            content += self.random.integers(-127, 128, (k_tiles * self.config.k_lanes, size)).astype(np.int8).tobytes()
        fields = self.region(content, region)
        beats = fields["region_beats"] // experts
        return fields | {"region_beats": beats} | ({"expert_beats": beats} if experts > 1 else {})

    def run(self, source, destination, *, n_tiles=None, experts=1, overlap=0, tiles=None, region=Region.WEIGHTS,
            **fields):
        """A PASS; returns how to read what it wrote."""
        lanes, wide = self.config.k_lanes, self.config.n_lanes
        n_tiles = n_tiles or self.between(1, 3)
        columns = fields.pop("columns", None) or self.between((n_tiles - 1) * wide + 1, n_tiles * wide)
        words = -(-columns // lanes)
        rows = fields.pop("most_rows", source["rows"])
        memory, room, stride = {
            Destination.RESIDUAL: ("residual", rows * words, words),
            Destination.HIDDEN: ("hidden", rows * words, words),
            Destination.KEYS: ("kv", words * 32, 32),
            Destination.VALUES: ("kv", n_tiles * 32, 32),
            Destination.ROUTER: ("router", 0, 0),
        }[destination]
        base = self.place(memory, room)
        if tiles is None:
            constant = self.chance(0.3) if destination != Destination.ROUTER else 0
            k_tiles = source["k_tiles"] * (self.config.gate_sweeps if fields.get("digits") else 1)
            tiles = self.tiles(n_tiles, k_tiles, constant, experts, region)
            tiles |= {"constant": constant, "constant_scale": self.between(1, 65535) * constant}
        defaults = {"shift": self.between(16, 40), "activation": self.chance(0.4) * self.between(1, 2),
                    "saturation": self.between(0, 2)}
        if destination in (Destination.KEYS, Destination.VALUES):
            defaults["saturation"] = Saturation.WEIGHT
        if destination == Destination.ROUTER:
            defaults = {"shift": self.between(20, 30)}
        self.add(opcode=Opcode.PASS, destination=destination, destination_base=base, destination_stride=stride,
                 n_tiles=n_tiles, columns=columns, overlap=overlap, **tiles, **{**defaults, **source, **fields})
        return {"rows": source["rows"], "k_tiles": words, "source": RowSource(destination == Destination.HIDDEN),
                "source_base": base, "source_stride": words}

    def tracked(self, source, peak, **fields):
        """A PASS into the hidden memory whose peaks the next pass needs."""
        at = self.between(0, 4 * self.config.max_tokens - 32)
        written = self.run(source, Destination.HIDDEN, peak=peak, peak_first=1, destination_peak=at, **fields)
        return written | {"source_peak": at}

    # Phrases.

    def begin(self):
        self.tops = {}

    def feed_forward(self):
        self.begin()
        normed = self.norm(self.load(self.between(1, 12), self.between(1, 3), small=True))
        hidden = self.tracked(normed, Peak.ABSOLUTE)
        self.run(hidden | {"operand": Operand.ROW}, Destination.RESIDUAL,
                 region=Region.GATES if self.chance() else Region.WEIGHTS)

    def attention(self):
        self.begin()
        rows, k = self.between(1, 20), self.between(1, 2)
        normed = self.norm(self.load(rows, k, small=True))
        lanes, wide = self.config.k_lanes, self.config.n_lanes
        head = self.between(1, 2)  # words
        tiles_of_keys, tiles_of_head = -(-rows // wide), -(-head * lanes // wide)
        self.run(normed, Destination.KEYS, n_tiles=tiles_of_head, columns=head * lanes)
        keys = self.tops["kv"] - head * 32
        query = self.run(normed, Destination.HIDDEN, n_tiles=tiles_of_head, columns=head * lanes, overlap=1,
                         saturation=Saturation.OPERAND)
        value = tiles_of_head * wide
        self.run(normed, Destination.VALUES, n_tiles=tiles_of_head, columns=value, overlap=2)
        values = self.tops["kv"] - tiles_of_head * 32
        constant = {"constant": 1, "constant_scale": self.between(1, 65535), "activation": 0}
        logits = self.tracked(query, Peak.MAXIMUM, n_tiles=tiles_of_keys, columns=rows, overlap=1, tiles={
            "weights": WeightSource.KEYS, "kv_base": keys, "kv_k_stride": 32, "kv_n_stride": lanes},
            saturation=Saturation.ROW, **constant)
        mixed = self.tracked(logits | {"operand": Operand.EXP}, Peak.ABSOLUTE, n_tiles=tiles_of_head,
                             columns=head * lanes, keys=rows, tiles={
            "weights": WeightSource.VALUES, "kv_base": values, "kv_k_stride": lanes, "kv_n_stride": 32}, **constant)
        self.run(mixed | {"operand": Operand.ROW}, Destination.RESIDUAL)

    def experts(self):
        self.begin()
        rows, experts = self.between(1, 16), self.between(1, self.config.max_experts)
        normed = self.norm(self.load(rows, self.between(1, 2), small=True))
        biased = self.chance()
        if biased:
            self.run(normed | {"operand": Operand.RAW, "rows": 1, "k_tiles": 1}, Destination.ROUTER, n_tiles=1,
                     columns=experts, top_k=1, sets_bias=1, overlap=1,
                     tiles=self.tiles(1, 0, region=Region.GATES) | {"weights": WeightSource.VALUES})
        self.run(normed, Destination.ROUTER, n_tiles=1, columns=experts, digits=1, top_k=self.between(1, experts),
                 renormalise=self.chance(), sigmoid=self.chance(), biased=biased, overlap=biased, region=Region.GATES)
        self.add(opcode=Opcode.EXPERTS, body=2)
        queued = {"queued": 1, "experts": experts, "most_rows": rows}
        hidden = self.tracked(normed | {"rows": 0}, Peak.ABSOLUTE, gather=1, overlap=self.chance(), **queued)
        self.run(hidden | {"operand": Operand.ROW}, Destination.RESIDUAL, scatter=1, score=self.chance(0.7), **queued)

    def picture(self):
        self.begin()
        across, down, patch, segment = self.between(1, 3), self.between(1, 3), self.between(1, 5), self.between(1, 4)
        size = self.config.bus_bytes
        content = self.random.integers(0, 256, across * down * patch * segment * 8, dtype=np.uint8).tobytes()
        content += bytes(-len(content) % size)
        k, rows = -(-patch * segment * 8 // self.config.k_lanes), across * down
        base, at = self.place("hidden", rows * k), len(self.image)
        self.image += content
        self.add(opcode=Opcode.IMAGE, region=Region.IMAGE, region_offset=at, region_beats=len(content) // size,
                 rows=rows, patch=patch, segment=segment, patches_x=across, destination_base=base,
                 destination_stride=k)
        self.run({"rows": rows, "k_tiles": k, "source": RowSource.HIDDEN, "source_base": base, "source_stride": k},
                 Destination.RESIDUAL)

    def store(self):
        rows, k = self.between(1, 12), self.between(1, 4)
        self.add(opcode=Opcode.STORE, rows=rows, k_tiles=k, source_base=self.between(0, 100),
                 source_stride=self.between(0, 10), region_offset=self.stored)
        self.stored += rows * k * self.config.k_lanes * 2

    def write(self, phrases):
        for phrase in self.random.choice([self.feed_forward, self.attention, self.experts, self.picture], phrases):
            phrase()
            self.store()
        self.add(opcode=Opcode.END)
        assert self.stored <= OUTPUT_BYTES
        return self
