# SPDX-License-Identifier: Apache-2.0
"""The ANSI Verilog wrapper around the core: AMBA names, Vivado attributes, tied constants.

Attributes on Amaranth outputs that are equal constants merge (amaranth#1616); here each port carries its own.
"""

from .ports import Port

__all__ = ["wrapper_text"]


def wrapper_text(name: str, core: str, ports: list[Port]) -> str:
    """Verilog of module ``name`` that instantiates ``core``; one line per port, in the table's order."""
    declarations = ",\n".join(_declaration(port) for port in ports)
    constants = [f"  assign {port.name} = {port.width}'d{port.constant};" for port in ports
                 if port.output and port.core is None]
    wires: dict[str, list[Port]] = {}
    for port in ports:
        if port.core is not None:
            wires.setdefault(port.core, []).append(port)
    connections, slices = ["    .rst(~aresetn)"], []
    for source, parts in wires.items():
        parts = sorted(parts, key=lambda part: part.lsb)
        if len(parts) == 1:
            connections.append(f"    .{source}({parts[0].name})")
        else:
            joined = ", ".join(part.name for part in reversed(parts))
            connections.append(f"    .{source}({{{joined}}})")
    unused = [port.name for port in ports if not port.output and port.core is None and port.name != "aresetn"]
    if unused:
        slices.append(f"  wire unused = &{{1'b0, {', '.join(unused)}}};")
    body = "\n".join([*constants, *slices, f"  {core} core (", ",\n".join(connections), "  );"])
    return (f"// SPDX-License-Identifier: Apache-2.0\n// Written by moevit.rtl_gen; do not edit.\n"
            f"`default_nettype none\nmodule {name} (\n{declarations}\n);\n{body}\nendmodule\n`default_nettype wire\n")


def _declaration(port: Port) -> str:
    attributes = "".join(f'  (* {key} = "{value}" *)\n' for key, value in
                         (("X_INTERFACE_INFO", port.info), ("X_INTERFACE_PARAMETER", port.parameter)) if value)
    width = f"[{port.width - 1}:0] " if port.width > 1 else ""
    return f"{attributes}  {'output' if port.output else 'input'} wire {width}{port.name}"
