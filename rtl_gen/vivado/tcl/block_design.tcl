# SPDX-License-Identifier: Apache-2.0
# The block design: processor, machine, a SmartConnect for registers and one per memory port, interrupts, reset.
# `board` names the board files, or is empty. Returns the clock that the dividers reach, by the clock asked for; both in
# MHz. The design has the first of the clocks.

# Ask the processor for a clock. Returns the one that its dividers reach.
proc processor_clock {mhz} {
    set processor [get_bd_cells ps]
    set_property [setting processor clock_asked] $mhz $processor
    return [get_property [setting processor clock_actual] $processor]
}

proc block_design {board} {
    set cell [setting ip cell]
    set interrupts [setting interrupts cell]
    create_bd_design [setting name]

    # --- processor ---
    set processor [create_bd_cell -type ip -vlnv [newest_ip [setting processor vlnv]] ps]
    set automation [list apply_board_preset [expr {$board ne ""}]]
    if {[llength [setting processor external]] > 0} {
        lappend automation make_external [join [setting processor external] ", "] Master Disable Slave Disable
    }
    apply_bd_automation -rule [setting processor rule] -config $automation $processor
    if {$board eq ""} {
        set_property -dict [setting processor own] $processor
    }
    set_property -dict [setting processor properties] $processor
    foreach mhz [lreverse [setting clocks]] {
        dict set reached $mhz [processor_clock $mhz]
    }

    # --- cells ---
    create_bd_cell -type ip -vlnv [newest_ip xilinx.com:ip:proc_sys_reset] reset
    create_bd_cell -type ip -vlnv [setting ip vlnv] $cell
    set_property CONFIG.C_IRQ_CONNECTION 1 \
        [create_bd_cell -type ip -vlnv [newest_ip xilinx.com:ip:axi_intc] $interrupts]
    set_property -dict {CONFIG.NUM_SI 1 CONFIG.NUM_MI 2} \
        [create_bd_cell -type ip -vlnv [newest_ip xilinx.com:ip:smartconnect] control]
    connect_bd_intf_net [get_bd_intf_pins ps/[setting processor control]] [get_bd_intf_pins control/S00_AXI]
    connect_bd_intf_net [get_bd_intf_pins control/M00_AXI] [get_bd_intf_pins $cell/[setting ip lite]]
    connect_bd_intf_net [get_bd_intf_pins control/M01_AXI] [get_bd_intf_pins $interrupts/s_axi]

    # --- memory: width and protocol change on the way ---
    set clocks [list ps/[setting processor control_clock] reset/slowest_sync_clk control/aclk $interrupts/s_axi_aclk \
                    $cell/[setting ip clock]]
    set resets [list control/aresetn $interrupts/s_axi_aresetn $cell/[setting ip reset]]
    foreach port [setting processor memory] {
        set name memory_[dict get $port master]
        set_property -dict {CONFIG.NUM_SI 1 CONFIG.NUM_MI 1} \
            [create_bd_cell -type ip -vlnv [newest_ip xilinx.com:ip:smartconnect] $name]
        connect_bd_intf_net [get_bd_intf_pins $cell/[dict get $port master]] [get_bd_intf_pins $name/S00_AXI]
        connect_bd_intf_net [get_bd_intf_pins $name/M00_AXI] [get_bd_intf_pins ps/[dict get $port slave]]
        lappend clocks $name/aclk ps/[dict get $port clock]
        lappend resets $name/aresetn
    }

    # --- clock, reset, interrupt ---
    foreach pin $clocks {
        connect_bd_net [get_bd_pins ps/[setting processor clock]] [get_bd_pins $pin]
    }
    connect_bd_net [get_bd_pins ps/[setting processor reset]] [get_bd_pins reset/ext_reset_in]
    foreach pin $resets {
        connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins $pin]
    }
    connect_bd_net [get_bd_pins $cell/[setting ip interrupt]] [get_bd_pins $interrupts/intr]
    connect_bd_net [get_bd_pins $interrupts/irq] [get_bd_pins ps/[setting processor interrupt]]

    # --- addresses ---
    set registers [get_bd_addr_spaces ps/Data]
    assign_bd_address -offset [format 0x%X [setting base]] -range [setting ip aperture] \
        -target_address_space $registers [get_bd_addr_segs $cell/[setting ip lite]/*]
    assign_bd_address -offset [format 0x%X [setting interrupts base]] -range [setting interrupts range] \
        -target_address_space $registers [get_bd_addr_segs $interrupts/S_AXI/*]
    foreach port [setting processor memory] {
        set space [get_bd_addr_spaces $cell/[dict get $port master]]
        set assigned 0
        foreach segment [get_bd_addr_segs ps/[dict get $port segments]/*] {
            if {[string match *DDR* $segment]} {
                assign_bd_address -target_address_space $space $segment
                incr assigned
            } else {
                exclude_bd_addr_seg -target_address_space $space $segment
            }
        }
        if {$assigned == 0} {
            fail SCRIPT "[dict get $port slave] offers no memory"
        }
    }
    validate_bd_design
    save_bd_design
    return $reached
}
