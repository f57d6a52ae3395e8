// SPDX-License-Identifier: Apache-2.0
// Simulated DDR behind an AXI4 port: latency, a bandwidth that reads and writes share, random stalls, faults, counters.
// The bytes lie in a file that the simulator and the host map (shared_memory.cpp); every burst is logged.
//
// Settings change on a rising edge of setting_write, without a clock; moevit.sim.verilator.settings lists them.
//   0 read latency: cycles from AR taken to its first beat, at least 2
//   1 write latency: cycles from the last beat of a write written to its B
//   2, 3 bandwidth numerator, denominator: beats per cycle, reads and writes together
//   4 stall: chance out of 256, per channel and cycle, that it stands still
//   5 seed of the stalls
//   6 outstanding: read bursts taken and unanswered, at most 64
//   7 fault kind: 0 none, 1 SLVERR, 2 DECERR, 3 never answered, 4 never accepted, 5 RLAST early, 6 RLAST missing
//   8 which accesses the fault hits: bit 0 reads, bit 1 writes
//   9, 10 fault range: base <= address < limit
//   11 flush the log and trace files; 12 empty them

// One process keeps all state in variables (blocking), outputs in registers; settings have initial values.
/* verilator lint_off BLKSEQ */
/* verilator lint_off PROCASSINIT */

module memory #(
    parameter int BYTES = 16,
    parameter int PORT = 0  // of several that share the bytes; only the stalls differ
) (
    input wire aclk,
    input wire aresetn,
    input wire [39:0] araddr,
    input wire [7:0] arlen,
    input wire arvalid,
    output bit arready,
    output bit [8*BYTES-1:0] rdata,
    output bit [1:0] rresp,
    output bit rlast,
    output bit rvalid,
    input wire rready,
    input wire [39:0] awaddr,
    input wire [7:0] awlen,
    input wire awvalid,
    output bit awready,
    input wire [8*BYTES-1:0] wdata,
    input wire [BYTES-1:0] wstrb,
    input wire wlast,
    input wire wvalid,
    output bit wready,
    output bit [1:0] bresp,
    output bit bvalid,
    input wire bready,
    input wire setting_write,
    input wire [7:0] setting_index,
    input wire [63:0] setting_value,
    output bit [63:0] cycles,
    output bit [63:0] bytes_read,
    output bit [63:0] bytes_written
);
    import "DPI-C" function void memory_open(string path);
    import "DPI-C" function bit memory_read(longint unsigned address, int bytes, output bit [511:0] data);
    import "DPI-C" function bit memory_write(longint unsigned address, int bytes, bit [511:0] data, bit [63:0] strobes);
    import "DPI-C" function void log_open(string path);
    import "DPI-C" function void log_burst(longint unsigned cycle, longint unsigned address, int beats, bit write);
    import "DPI-C" function void records_flush();
    import "DPI-C" function void records_clear();

    localparam int DEPTH = 64;  // of every queue; the settings may allow less
    localparam bit [1:0] OKAY = 2'd0, SLVERR = 2'd2, DECERR = 2'd3;
    localparam bit [7:0] NONE = 0, SLAVE = 1, DECODE = 2, SILENT = 3, REFUSED = 4, EARLY = 5, MISSING = 6;

    // Settings.
    bit [63:0] read_latency = 64, write_latency = 16, numerator = 1, denominator = 1;
    bit [7:0] stall = 0;
    bit [63:0] seed = 1, outstanding = 8, fault_base = 0, fault_limit = 0;
    bit [7:0] fault = NONE;
    bit [1:0] fault_on = 2'b11;
    bit reseed = 0;

    initial begin
        string path;
        memory_open($value$plusargs("memory=%s", path) != 0 ? path : "");
        if ($value$plusargs("bursts=%s", path) != 0) log_open(path);
    end

    always @(posedge setting_write)
        case (setting_index)
            0: read_latency = setting_value;
            1: write_latency = setting_value;
            2: numerator = setting_value;
            3: denominator = setting_value;
            4: stall = setting_value[7:0];
            5: begin seed = setting_value; reseed = !reseed; end
            6: outstanding = setting_value;
            7: fault = setting_value[7:0];
            8: fault_on = setting_value[1:0];
            9: fault_base = setting_value;
            10: fault_limit = setting_value;
            11: records_flush();
            12: records_clear();
            default: $fatal(1, "memory: no setting has the index %0d", setting_index);
        endcase

    function automatic bit hit(bit [1:0] kind, bit [39:0] address);
        return (fault_on & kind) != 0 && address >= fault_base[39:0] && 64'(address) < fault_limit;
    endfunction

    function automatic bit burst_hit(bit [1:0] kind, bit [39:0] address, bit [7:0] len);
        return (fault_on & kind) != 0 && 64'(address) < fault_limit
               && 64'(address) + 64'(BYTES) * (64'(len) + 1) > fault_base;
    endfunction

    typedef struct packed {
        bit [39:0] address;
        bit [7:0] len;
    } burst_t;
    typedef struct packed {
        bit last;
        bit [BYTES-1:0] strobes;
        bit [8*BYTES-1:0] data;
    } beat_t;
    typedef struct packed {
        bit [1:0] response;
        bit withheld;
        bit [63:0] due;
    } answer_t;

    burst_t reads[DEPTH], writes[DEPTH];
    bit [63:0] due[DEPTH];  // cycle from which on a read may be answered
    beat_t beats[DEPTH];
    answer_t answers[DEPTH];
    bit [5:0] read_head, write_head, beat_head, answer_head;
    bit [6:0] read_count, write_count, beat_count, answer_count;
    bit [7:0] read_index, write_index;
    bit [1:0] write_response;
    bit write_withheld;
    bit [63:0] credit;  // in beats / denominator
    bit write_paid;     // credit for the next W beat is set aside: WREADY
    bit turn;           // who goes first when both want credit
    bit [63:0] state = 1;
    bit reseeded = 0;

    /* verilator lint_off UNUSEDSIGNAL */
    bit [511:0] line;  // as wide as the widest bus
    /* verilator lint_on UNUSEDSIGNAL */
    bit [63:0] noise;
    bit want_read, want_write, mapped, last;
    bit [39:0] address;

    function automatic bit stalls(int channel);
        return stall != 0 && noise[8*channel +: 8] < stall;
    endfunction

    task automatic offer_beat();
        burst_t burst = reads[read_head];
        address = burst.address + 40'(BYTES) * 40'(read_index);
        mapped = memory_read(64'(address), BYTES, line);
        rresp <= mapped ? OKAY : DECERR;
        last = read_index == burst.len;
        rlast <= last;
        if (fault != NONE && hit(2'b01, address)) begin
            if (fault == SLAVE) rresp <= SLVERR;
            if (fault == DECODE) rresp <= DECERR;
            if (fault == SLAVE || fault == DECODE) line = {64{8'hA5}};
            if (fault == EARLY) begin last = 1; rlast <= 1; end
            if (fault == MISSING) rlast <= 0;
        end
        rdata <= line[8*BYTES-1:0];
        rvalid <= 1;
        if (last) begin
            read_index = 0;
            read_head = read_head + 1;
            read_count = read_count - 1;
        end else read_index = read_index + 1;
    endtask

    task automatic store_beat();
        burst_t burst = writes[write_head];
        beat_t beat = beats[beat_head];
        address = burst.address + 40'(BYTES) * 40'(write_index);
        last = write_index == burst.len;
        if (beat.last != last)
            $fatal(1, "AXI rule: cycle %0d: W: WLAST is %0d on beat %0d of the %0d to 0x%0h",
                   cycles, beat.last, int'(write_index) + 1, int'(burst.len) + 1, burst.address);
        if (!memory_write(64'(address), BYTES, 512'(beat.data), 64'(beat.strobes))) write_response = DECERR;
        if (fault != NONE && hit(2'b10, address)) begin
            if (fault == SLAVE) write_response = SLVERR;
            if (fault == DECODE) write_response = DECERR;
            if (fault == SILENT) write_withheld = 1;
        end
        beat_head = beat_head + 1;
        beat_count = beat_count - 1;
        if (last) begin
            answers[answer_head + answer_count[5:0]] = '{write_response, write_withheld, cycles + write_latency};
            answer_count = answer_count + 1;
            write_head = write_head + 1;
            write_count = write_count - 1;
            write_index = 0;
            write_response = OKAY;
            write_withheld = 0;
        end else write_index = write_index + 1;
    endtask

    always @(posedge aclk) begin
        cycles <= cycles + 1;
        if (stall != 0) begin
            if (reseed != reseeded) begin
                state = (seed + 64'(PORT)) * 64'h9E3779B97F4A7C15 | 64'd1;
                reseeded = reseed;
            end
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            noise = state;
        end
        if (!aresetn) begin
            {arready, rvalid, awready, wready, bvalid} <= 5'b0;
            {read_head, write_head, beat_head, answer_head} = 24'b0;
            {read_count, write_count, beat_count, answer_count} = 28'b0;
            {read_index, write_index} = 16'b0;
            write_response = OKAY;
            write_withheld = 0;
            write_paid = 0;
            credit = 0;
        end else begin
            // What was taken at this edge.
            if (arvalid && arready) begin
                reads[read_head + read_count[5:0]] = '{araddr, arlen};
                due[read_head + read_count[5:0]] = cycles + read_latency - 1;
                read_count = read_count + 1;
                log_burst(cycles, 64'(araddr), int'(arlen) + 1, 0);
            end
            if (awvalid && awready) begin
                writes[write_head + write_count[5:0]] = '{awaddr, awlen};
                write_count = write_count + 1;
                log_burst(cycles, 64'(awaddr), int'(awlen) + 1, 1);
            end
            if (wvalid && wready) begin
                beats[beat_head + beat_count[5:0]] = '{wlast, wstrb, wdata};
                beat_count = beat_count + 1;
                write_paid = 0;
                bytes_written <= bytes_written + 64'(BYTES);
            end
            if (rvalid && rready) begin
                rvalid <= 0;
                bytes_read <= bytes_read + 64'(BYTES);
            end
            if (bvalid && bready) bvalid <= 0;

            // Bandwidth: who may move a beat.
            credit = credit + numerator;
            if (credit > numerator + denominator) credit = numerator + denominator;
            address = reads[read_head].address + 40'(BYTES) * 40'(read_index);
            want_read = (!rvalid || rready) && read_count != 0 && cycles >= due[read_head] && !stalls(0)
                        && !(fault == SILENT && hit(2'b01, address));
            // An idle memory forgets, so that equal runs take equal time.
            if (!wvalid && write_count == 0) begin
                write_paid = 0;
                if (read_count == 0) turn = 0;
            end
            want_write = !write_paid && wvalid && beat_count < 7'(DEPTH - 2);
            for (int step = 0; step < 2; step++) begin
                if (want_read && credit >= denominator && (step == 1 || turn == 0 || !want_write)) begin
                    credit = credit - denominator;
                    offer_beat();
                    want_read = 0;
                    turn = 1;
                end
                if (want_write && credit >= denominator && (step == 1 || turn == 1 || !want_read)) begin
                    credit = credit - denominator;
                    write_paid = 1;
                    want_write = 0;
                    turn = 0;
                end
            end

            // Writes are stored one beat a cycle, where address and data have come.
            if (beat_count != 0 && write_count != 0 && answer_count < 7'(DEPTH)) store_beat();
            if ((!bvalid || bready) && answer_count != 0 && cycles >= answers[answer_head].due && !stalls(1)
                && !(answers[answer_head].withheld && fault == SILENT)) begin
                bresp <= answers[answer_head].response;
                bvalid <= 1;
                answer_head = answer_head + 1;
                answer_count = answer_count - 1;
            end

            // READY of the next cycle. A fault that refuses addresses must see them first.
            arready <= 64'(read_count) < outstanding && !stalls(2)
                       && !(fault == REFUSED && (!arvalid || arready || burst_hit(2'b01, araddr, arlen)));
            awready <= write_count < 7'(DEPTH) && !stalls(3)
                       && !(fault == REFUSED && (!awvalid || awready || burst_hit(2'b10, awaddr, awlen)));
            wready <= write_paid && !stalls(4);
        end
    end
endmodule

/* verilator lint_on PROCASSINIT */
/* verilator lint_on BLKSEQ */
