# SPDX-License-Identifier: Apache-2.0
# A stand-in for Vivado's Tcl: as much of projects, IP packaging and block designs as the scripts use, and no more.
# What does not exist in it is an error: a command, an option, a property, a pin, an interface. Everything that happens
# is recorded in events.tsv. STUB_FAULT names a fault to inject, STUB_BOARD_FILES whether there are board files, STUB_DELAY
# the delay of the longest path in ns; without it, every period is met.

set fault [expr {[info exists env(STUB_FAULT)] ? $env(STUB_FAULT) : ""}]
set delay [expr {[info exists env(STUB_DELAY)] ? $env(STUB_DELAY) : ""}]
set board_files_there [expr {![info exists env(STUB_BOARD_FILES)] || $env(STUB_BOARD_FILES)}]

proc record {args} {
    set file [open events.tsv a]
    puts $file [join $args \t]
    close $file
}

# Arguments as a dict: options of `spec` ({-name 1} takes a value, {-name 0} none); the rest under "rest".
proc parse {command spec words} {
    set found [dict create rest {}]
    while {[llength $words]} {
        set words [lassign $words word]
        if {[string match -* $word]} {
            if {![dict exists $spec $word]} {
                error "ERROR: \[Common 17-170\] Unknown option '$word' of $command"
            }
            if {[dict get $spec $word]} {
                set words [lassign $words value]
                dict set found $word $value
            } else {
                dict set found $word 1
            }
        } else {
            dict lappend found rest $word
        }
    }
    return $found
}

# --- properties ---------------------------------------------------------------------------------------------------
# class(object) and, per class, the names that it has.
set names(project) {part board_part ip_repo_paths}
set names(fileset) {top}
set names(run) {strategy PROGRESS STATUS}
set names(core) {name version display_name description supported_families}
set names(bus) {slave_memory_map_ref}
set names(block) {name base_address range width usage access}
set names(register) {description address_offset size access}
set names(field) {bit_offset bit_width access modified_write_value description}
set names(path) {SLACK}
set names(clock) {PERIOD SOURCE_PINS}
set names(constraints) {used_in_synthesis processing_order}
set names(zynq_ultra_ps_e) {
    CONFIG.PSU__USE__M_AXI_GP0 CONFIG.PSU__USE__M_AXI_GP1 CONFIG.PSU__USE__M_AXI_GP2 CONFIG.PSU__MAXIGP0__DATA_WIDTH
    CONFIG.PSU__USE__S_AXI_GP2 CONFIG.PSU__USE__S_AXI_GP3 CONFIG.PSU__USE__S_AXI_GP4 CONFIG.PSU__USE__S_AXI_GP5
    CONFIG.PSU__SAXIGP2__DATA_WIDTH CONFIG.PSU__SAXIGP3__DATA_WIDTH CONFIG.PSU__SAXIGP4__DATA_WIDTH
    CONFIG.PSU__SAXIGP5__DATA_WIDTH CONFIG.PSU__USE__IRQ0 CONFIG.PSU__FPGA_PL0_ENABLE
    CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ CONFIG.PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ
    CONFIG.PSU__PSS_REF_CLK__FREQMHZ CONFIG.PSU__DDR_HIGH_ADDRESS_GUI_ENABLE}
set names(processing_system7) {
    CONFIG.PCW_USE_M_AXI_GP0 CONFIG.PCW_USE_S_AXI_HP0 CONFIG.PCW_USE_S_AXI_HP1 CONFIG.PCW_USE_S_AXI_HP2
    CONFIG.PCW_USE_S_AXI_HP3 CONFIG.PCW_S_AXI_HP0_DATA_WIDTH CONFIG.PCW_S_AXI_HP1_DATA_WIDTH
    CONFIG.PCW_S_AXI_HP2_DATA_WIDTH CONFIG.PCW_S_AXI_HP3_DATA_WIDTH CONFIG.PCW_EN_CLK0_PORT CONFIG.PCW_EN_RST0_PORT
    CONFIG.PCW_USE_FABRIC_INTERRUPT CONFIG.PCW_IRQ_F2P_INTR CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ
    CONFIG.PCW_ACT_FPGA0_PERIPHERAL_FREQMHZ CONFIG.PCW_CRYSTAL_PERIPHERAL_FREQMHZ CONFIG.PCW_UIPARAM_DDR_PARTNO
    CONFIG.PCW_UIPARAM_DDR_BUS_WIDTH}
set names(smartconnect) {CONFIG.NUM_SI CONFIG.NUM_MI}
set names(axi_intc) {CONFIG.C_IRQ_CONNECTION}
set names(proc_sys_reset) {}
array set property {}

proc check_name {object name} {
    if {![info exists ::class($object)]} {
        error "ERROR: \[Common 17-161\] no object '$object'"
    }
    if {[lsearch -exact -nocase $::names($::class($object)) $name] < 0} {
        error "ERROR: \[Common 17-54\] $::class($object) $object has no property $name"
    }
}
proc set_property {args} {
    if {[lindex $args 0] eq "-dict"} {
        lassign $args - pairs object
    } else {
        lassign $args name value object
        set pairs [list $name $value]
    }
    foreach {name value} $pairs {
        check_name $object $name
        if {$name eq "board_part" && $::fault eq "board_part"} {
            error "ERROR: \[Board 49-71\] The board_part definition was not found for $value."
        }
        set ::property($object,[string tolower $name]) $value
        record property $::class($object) $object $name $value
        set key [string tolower $name]
        if {[info exists ::dividers($key)]} {  ;# a whole one of the PLL's clock
            lassign $::dividers($key) pll actual
            set ::saved 0
            set ::property($object,$actual) [format %.6g [expr {$pll / round($pll / $value)}]]
        }
    }
}
proc get_property {name object} {
    check_name $object $name
    set key $object,[string tolower $name]
    return [expr {[info exists ::property($key)] ? $::property($key) : ""}]
}
proc config {cell name default} {
    set key $cell,[string tolower CONFIG.$name]
    return [expr {[info exists ::property($key)] ? $::property($key) : $default}]
}

# --- clocks and constraints ---------------------------------------------------------------------------------------
# period(CLOCK): of the clocks of the open design, ns; every one has the pin PIN/CLOCK[0].
array set period {}
set saved 0
array set dividers {
    config.psu__crl_apb__pl0_ref_ctrl__freqmhz {1499.985 config.psu__crl_apb__pl0_ref_ctrl__act_freqmhz}
    config.pcw_fpga0_peripheral_freqmhz {1000.0 config.pcw_act_fpga0_peripheral_freqmhz}}
proc get_clocks {name} {
    if {![info exists ::period($name)]} { error "WARNING: \[Vivado 12-627\] No clocks matched '$name'." }
    set ::class($name) clock
    set ::property($name,period) $::period($name)
    set ::property($name,source_pins) "PIN/$name\[0\]"
    return $name
}
proc get_pins {path} {
    if {![regexp {^PIN/(\w+)\[0\]$} $path - name] || ![info exists ::period($name)]} { error "ERROR: no pin $path" }
    return $path
}
proc get_ports {name} { return $name }
proc create_clock {args} {
    set words [parse create_clock {-name 1 -period 1} $args]
    if {[llength [dict get $words rest]] != 1} { error "ERROR: a clock has one source" }
    record create_clock [dict get $words -name] [dict get $words -period] [lindex [dict get $words rest] 0]
    if {$::fault ne "constraint"} { set ::period([dict get $words -name]) [dict get $words -period] }
}

# --- the tool, parts, boards --------------------------------------------------------------------------------------
proc version {option} { return 2024.2 }
proc get_parts {args} {
    set words [parse get_parts {-quiet 0} $args]
    return [expr {$::fault eq "part" ? "" : [dict get $words rest]}]
}
set board_part(xc7z020clg400-1) {tul.com.tw:pynq-z2:part0:1.0}
set board_part(xczu3eg-sbva484-1-i) {avnet.com:ultra96v2:part0:1.1 avnet.com:ultra96v2:part0:1.2 em.avnet.com:ultra96v2:part0:1.0}
set board_part(xck26-sfvc784-2LV-c) {xilinx.com:kv260_som:part0:1.4}
set board_part(xczu7ev-ffvc1156-2-e) {xilinx.com:zcu104:part0:1.1}
set board_part(xczu9eg-ffvb1156-2-e) {xilinx.com:zcu102:part0:3.4}
proc get_board_parts {args} {
    set pattern [lindex [dict get [parse get_board_parts {-quiet 0} $args] rest] 0]
    set found {}
    foreach {part boards} [array get ::board_part] {
        foreach board $boards {
            if {$::board_files_there && [string match $pattern $board]} { lappend found $board }
        }
    }
    return $found
}
proc read_verilog {files} {
    foreach file $files { if {![file exists $file]} { error "ERROR: no file $file" } }
    record read_verilog {*}[lmap file $files {file tail $file}]
}
proc read_xdc {args} {
    set words [parse read_xdc {-mode 1} $args]
    set file [open [lindex [dict get $words rest] 0]]
    record read_xdc [dict get $words -mode] [string map {\n " "} [string trim [read $file]]]
    close $file
}
proc synth_design {args} {
    set words [parse synth_design {-rtl 0 -top 1 -part 1 -mode 1} $args]
    if {$::fault eq "licence"} {
        error "ERROR: \[Common 17-345\] A valid license was not found for feature 'Synthesis' and/or device\
            '[dict get $words -part]'."
    }
    if {$::fault eq "killed"} { exec kill -9 [pid] }
    record synth_design {*}$words
    set ::netlist [pwd]
}
foreach command {opt_design place_design phys_opt_design route_design} {
    proc $command {} [string map [list NAME $command] {
        if {![info exists ::netlist]} { error "ERROR: no open design" }
        record NAME
    }]
}
proc write_checkpoint {args} {
    set path [lindex [dict get [parse write_checkpoint {-force 0} $args] rest] 0]
    close [open $path w]
    record write_checkpoint [file tail $path]
}
proc open_checkpoint {path} {
    if {![file exists $path]} { error "ERROR: no file $path" }
    if {[info exists ::netlist]} { error "ERROR: a design is open" }
    record open_checkpoint [file tail $path]
    set ::netlist $path
}

# --- projects and runs --------------------------------------------------------------------------------------------
proc create_project {args} {
    set words [parse create_project {-force 0 -part 1} $args]
    lassign [dict get $words rest] name folder
    if {[info exists ::project]} { error "ERROR: \[Project 1-1\] a project is open" }
    set ::project [list $name $folder]
    array set ::class {project project fileset fileset synth_1 run impl_1 run}
    set ::constraints {}
    set ::property(project,part) [dict get $words -part]
    file mkdir $folder
    record create_project $name [dict get $words -part]
}
proc close_project {} { unset -nocomplain ::netlist; unset -nocomplain ::project }
proc current_project {} { lindex [list project $::project] 0 }
proc current_fileset {} { return fileset }
proc add_files {args} {
    set words [parse add_files {-norecurse 0 -fileset 1} $args]
    set files [lindex [dict get $words rest] 0]
    foreach file $files { if {![file exists $file]} { error "ERROR: no file $file" } }
    if {[dict exists $words -fileset]} {
        if {[dict get $words -fileset] ne "constrs_1"} { error "ERROR: no fileset [dict get $words -fileset]" }
        lappend ::constraints {*}$files
        foreach file $files { set ::class([file tail $file]) constraints }
    } else {
        set ::added $files
    }
}
proc update_compile_order {args} { parse update_compile_order {-fileset 1} $args }
proc get_files {name} { return $name }
proc get_runs {name} {
    if {![info exists ::class($name)]} { error "ERROR: no run $name" }
    return $name
}
proc launch_runs {args} {
    set words [parse launch_runs {-jobs 1 -to_step 1} $args]
    set run [lindex [dict get $words rest] 0]
    if {$run eq "impl_1" && [get_property PROGRESS synth_1] ne "100%"} { error "ERROR: synth_1 is not complete" }
    if {[get_property PROGRESS $run] eq "100%"} { error "ERROR: \[Common 17-70\] $run needs to be reset" }
    # The processor's own constraint, with the clock of the generated block design; then ours, in implementation alone.
    if {$run eq "synth_1"} { set ::synthesised $::generated }
    array unset ::period
    array set ::period $::synthesised
    foreach file $::constraints {
        if {[get_property used_in_synthesis [file tail $file]] ne "false"} { error "ERROR: synthesis reads $file" }
        if {$run eq "impl_1"} { source $file }
    }
    set folder [file join [lindex $::project 1] [lindex $::project 0].runs $run]
    file mkdir $folder
    set log [open [file join $folder runme.log] w]
    puts $log "Starting Placer Task\nPhase 1 Placer Initialization"
    if {$::fault eq "place" && $run eq "impl_1"} {
        puts $log "ERROR: \[Place 30-640\] Place Check : This design requires more DSPs cells than are available."
    }
    if {$::fault eq "run_killed" && $run eq "impl_1"} { puts $log "bin/rdi: line 312:  4711 Killed  vivado" }
    close $log
    set good [expr {$run ne "impl_1" || $::fault ni {place run_killed run_stopped}}]
    set ::property($run,progress) [expr {$good ? "100%" : "45%"}]
    set ::property($run,status) [expr {$good ? "route_design Complete!" : "place_design ERROR"}]
    record launch_runs $run
}
proc wait_on_run {run} {
    if {$::fault eq "hang"} {
        exec sleep 60 &  ;# a run, as Vivado starts them: a process of its own
        stage hanging
        after 60000
    }
}
proc reset_run {run} {
    if {[info exists ::netlist]} { error "ERROR: its design is open" }
    set ::property($run,progress) 0%
    record reset_run $run
}
proc open_run {run} {
    if {[info exists ::netlist]} { error "ERROR: a design is open" }
    set ::netlist $run
    record open_run $run
}
proc close_design {} { unset ::netlist }
foreach command {report_timing_summary report_utilization report_drc report_power} {
    proc $command {args} [string map [list NAME $command] {
        set words [parse NAME {-file 1 -max_paths 1 -report_unconstrained 0 -hierarchical 0} $args]
        set file [open [dict get $words -file] w]
        puts $file "| CLB LUTs* | 12345 | 0 | 0 | 230400 | 5.36 |\n| Block RAM Tile | 101.5 | 0 | 0 | 312 | 32.53 |"
        puts $file "| DSPs | 512 | 0 | 0 | 1728 | 29.63 |"
        close $file
    }]
}
proc get_timing_paths {args} {
    set words [parse get_timing_paths {-max_paths 1 -nworst 1 -setup 0 -hold 0} $args]
    if {$::fault eq "unconstrained"} { return {} }
    set ::class(path) path
    set slack [expr {$::fault eq "slack" && [dict exists $words -setup] ? -0.217 : 0.043}]
    if {$::delay ne "" && [dict exists $words -setup]} {
        set slack [format %.3f [expr {[tcl::mathfunc::min {*}[lmap {name each} [array get ::period] {set each}]] - $::delay}]]
    }
    set ::property(path,slack) $slack
    return path
}
proc write_bitstream {args} {
    set path [lindex [dict get [parse write_bitstream {-force 0} $args] rest] 0]
    record write_bitstream
    if {$::fault eq "no_bit"} { return }
    set part [expr {$::fault eq "bit_part" ? "xczu1cg" : $::property(project,part)}]
    if {[string match xc7z* $part]} { set part [string range [lindex [split $part -] 0] 2 end] }  ;# as Vivado writes it
    set data [string repeat \xAA\x99\x55\x66 64]
    set bit [binary format Sa9S 9 \x0f\xf0\x0f\xf0\x0f\xf0\x0f\xf0\x00 1]
    foreach {letter text} [list a "top;UserID=0XFFFFFFFF;Version=2024.2" b $part c 2024/01/01 d 12:00:00] {
        append bit [binary format aSa* $letter [expr {[string length $text] + 1}] $text\0]
    }
    append bit [binary format aIa* e [string length $data] $data]
    set file [open $path wb]
    puts -nonewline $file [expr {$::fault eq "bit_cut" ? [string range $bit 0 end-100] : $bit}]
    close $file
}

# --- IP packaging -------------------------------------------------------------------------------------------------
namespace eval ipx {}
proc ipx::package_project {args} {
    set spec {-root_dir 1 -vendor 1 -library 1 -taxonomy 1 -import_files 0 -force 0}
    set words [parse ipx::package_project $spec $args]
    array set ::class {core core}
    set ::ip_root [dict get $words -root_dir]
    set ::component [dict create vlnv "[dict get $words -vendor]:[dict get $words -library]" buses {} registers {}]
    # Interfaces as Vivado infers them: from the attributes of the top module's ports.
    foreach path $::added {
        if {[file rootname [file tail $path]] ne $::property(fileset,top)} continue
        set file [open $path]
        set text [read $file]
        close $file
        set pattern {X_INTERFACE_INFO = "(\S+) (\S+) (\S+)" \*\)\s+(?:\(\*[^\n]*\*\)\s+)*(input|output)}
        foreach {- type bus signal direction} [regexp -all -inline $pattern $text] {
            switch -glob $type {
                *:aximm:* { if {$signal ne "ARADDR"} continue
                            set kind [expr {$direction eq "output" ? "master" : "slave"}] }
                *:clock:* { set kind clock }
                *:reset:* { set kind reset }
                *:interrupt:* { set kind interrupt }
            }
            dict set ::component buses $bus $kind
            set ::class(bus:$bus) bus
        }
    }
    foreach {bus kind} [dict get $::component buses] {
        if {$kind eq "slave"} { set ::blocks($bus) reg0; set ::class(block:reg0) block
                                set ::property(block:reg0,name) reg0 }
    }
}
proc ipx::current_core {} { return core }
proc ipx::get_bus_interfaces {name args} {
    return [expr {[dict exists $::component buses $name] ? "bus:$name" : ""}]
}
proc ipx::associate_bus_interfaces {args} {
    set words [parse ipx::associate_bus_interfaces {-busif 1 -clock 1 -reset 1} $args]
    set ends [dict remove $words rest]
    if {[dict size $ends] != 2} { error "ERROR: two are associated, not [dict keys $ends]" }
    foreach end [dict values $ends] {
        if {![dict exists $::component buses $end]} { error "ERROR: no interface $end" }
    }
    record associate {*}[dict values $ends]
}
proc ipx::get_bus_parameters {name args} { return $name }
proc ipx::remove_bus_parameter {name bus} { record remove_bus_parameter $name $bus }
proc ipx::get_memory_maps {name args} { return [expr {[info exists ::blocks($name)] ? "map:$name" : ""}] }
proc ipx::add_memory_map {name core} { error "there is one already" }
proc ipx::get_address_blocks {args} {
    set bus [string range [lindex $args end] 4 end]
    return [lmap name $::blocks($bus) {string cat block: $name}]
}
proc ipx::remove_address_block {name map} {
    set bus [string range $map 4 end]
    set ::blocks($bus) [lsearch -all -inline -not -exact $::blocks($bus) $name]
}
proc ipx::add_address_block {name map} {
    set bus [string range $map 4 end]
    if {$name in $::blocks($bus)} { error "ERROR: address block $name is there already" }
    lappend ::blocks($bus) $name
    set ::class(block:$name) block
    return block:$name
}
proc ipx::add_register {name block} {
    if {[info exists ::class(register:$name)]} { error "ERROR: register $name is there already" }
    set ::class(register:$name) register
    dict lappend ::component registers $name
    return register:$name
}
proc ipx::add_field {name register} {
    set ::class(field:$register/$name) field
    return field:$register/$name
}
foreach command {create_xgui_files update_checksums check_integrity} { proc ipx::$command {core} {} }
proc ipx::save_core {core} {
    dict append ::component vlnv ":$::property(core,name):$::property(core,version)"
    if {$::fault eq "no_component"} { return }
    file mkdir $::ip_root
    set file [open [file join $::ip_root component.xml] w]
    puts $file $::component
    close $file
    record blocks {*}[array get ::blocks]
}

# --- block design -------------------------------------------------------------------------------------------------
set catalogue {xilinx.com:ip:zynq_ultra_ps_e:3.4 xilinx.com:ip:zynq_ultra_ps_e:3.5 xilinx.com:ip:processing_system7:5.5
               xilinx.com:ip:smartconnect:1.0 xilinx.com:ip:axi_intc:4.1 xilinx.com:ip:proc_sys_reset:5.0}
proc get_ipdefs {pattern} { return [lsearch -all -inline -glob $::catalogue $pattern] }
proc update_ip_catalog {} {
    set file [open [file join $::property(project,ip_repo_paths) component.xml]]
    set ::component [read $file]
    close $file
    lappend ::catalogue [dict get $::component vlnv]
}
proc open_bd_design {file} {
    if {$file ne "$::design.bd"} { error "ERROR: no $file" }
    record open_bd_design $file
}
proc create_bd_design {name} { set ::design $name; record design $name }
proc create_bd_cell {args} {
    set words [parse create_bd_cell {-type 1 -vlnv 1} $args]
    set vlnv [dict get $words -vlnv]
    if {$vlnv ni $::catalogue} { error "ERROR: \[BD 5-390\] IP definition not found for VLNV: $vlnv" }
    set name [lindex [dict get $words rest] 0]
    if {[info exists ::cells($name)]} { error "ERROR: cell $name is there already" }
    set ::cells($name) [lindex [split $vlnv :] 2]
    set ::class($name) $::cells($name)
    record cell $name $vlnv
    return $name
}
proc get_bd_cells {name} { if {![info exists ::cells($name)]} { error "ERROR: no cell $name" }; return $name }
# Pins of a cell as {name kind}: in, out, clock, reset (inputs), master, slave (interfaces).
proc pins {cell} {
    switch $::cells($cell) {
        zynq_ultra_ps_e {
            set found {pl_resetn0 out}
            if {[config $cell PSU__FPGA_PL0_ENABLE 0]} { lappend found pl_clk0 out }
            if {[config $cell PSU__USE__IRQ0 0]} { lappend found pl_ps_irq0 in }
            foreach {gp name clock} {0 M_AXI_HPM0_FPD maxihpm0_fpd_aclk 1 M_AXI_HPM1_FPD maxihpm1_fpd_aclk
                                     2 M_AXI_HPM0_LPD maxihpm0_lpd_aclk} {
                if {[config $cell PSU__USE__M_AXI_GP$gp [expr {$gp < 2}]]} { lappend found $name master $clock clock }
            }
            for {set i 0} {$i < 4} {incr i} {
                if {[config $cell PSU__USE__S_AXI_GP[expr {$i + 2}] 0]} {
                    lappend found S_AXI_HP${i}_FPD slave saxihp${i}_fpd_aclk clock
                }
            }
        }
        processing_system7 {
            set found {DDR external FIXED_IO external}
            if {[config $cell PCW_EN_CLK0_PORT 0]} { lappend found FCLK_CLK0 out }
            if {[config $cell PCW_EN_RST0_PORT 0]} { lappend found FCLK_RESET0_N out }
            if {[config $cell PCW_USE_FABRIC_INTERRUPT 0] && [config $cell PCW_IRQ_F2P_INTR 0]} {
                lappend found IRQ_F2P in
            }
            if {[config $cell PCW_USE_M_AXI_GP0 0]} { lappend found M_AXI_GP0 master M_AXI_GP0_ACLK clock }
            for {set i 0} {$i < 4} {incr i} {
                if {[config $cell PCW_USE_S_AXI_HP$i 0]} { lappend found S_AXI_HP$i slave S_AXI_HP${i}_ACLK clock }
            }
        }
        smartconnect {
            set found {aclk clock aresetn reset}
            for {set i 0} {$i < [config $cell NUM_SI 1]} {incr i} { lappend found [format S%02d_AXI $i] slave }
            for {set i 0} {$i < [config $cell NUM_MI 1]} {incr i} { lappend found [format M%02d_AXI $i] master }
        }
        axi_intc {
            set found {s_axi slave s_axi_aclk clock s_axi_aresetn reset intr in}
            lappend found {*}[expr {[config $cell C_IRQ_CONNECTION 0] ? "irq out" : "interrupt master"}]
        }
        proc_sys_reset { set found {slowest_sync_clk clock ext_reset_in reset peripheral_aresetn out} }
        default {
            set found {}
            dict for {bus kind} [dict get $::component buses] {
                lappend found $bus [expr {$kind eq "interrupt" ? "out" : $kind}]
            }
        }
    }
    return $found
}
proc kind_of {path} {
    lassign [split $path /] cell pin
    if {![info exists ::cells($cell)] || ![dict exists [pins $cell] $pin]} {
        error "WARNING: \[BD 5-235\] No pins matched '$path'"
    }
    return [dict get [pins $cell] $pin]
}
proc get_bd_pins {path} {
    if {[kind_of $path] in {master slave external}} { error "ERROR: $path is an interface" }
    return $path
}
proc get_bd_intf_pins {path} {
    if {[kind_of $path] ni {master slave}} { error "ERROR: $path is no interface" }
    return $path
}
proc connect_bd_net {source sink} {
    if {[kind_of $source] ne "out" || [kind_of $sink] ni {in clock reset}} { error "ERROR: $source cannot drive $sink" }
    if {[info exists ::driven($sink)]} { error "ERROR: $sink is driven already" }
    set ::driven($sink) $source
    record net $source $sink
}
proc connect_bd_intf_net {master slave} {
    if {[kind_of $master] ne "master" || [kind_of $slave] ne "slave"} { error "ERROR: \[BD 41-1\] $master to $slave" }
    foreach pin [list $master $slave] {
        if {[info exists ::driven($pin)]} { error "ERROR: $pin is connected already" }
        set ::driven($pin) 1
    }
    record interface_net $master $slave
}
proc apply_bd_automation {args} {
    set words [parse apply_bd_automation {-rule 1 -config 1} $args]
    set cell [lindex [dict get $words rest] 0]
    if {[lindex [split [dict get $words -rule] :] 2] ne $::cells($cell)} { error "ERROR: no such rule for $cell" }
    dict for {key value} [dict get $words -config] {
        if {$key ni {apply_board_preset make_external Master Slave}} { error "ERROR: automation has no $key" }
        record automation $cell $key $value
    }
    if {[dict get $words -config apply_board_preset] && $::property(project,board_part) eq ""} {
        error "ERROR: \[BD 5-1\] no board"
    }
}
proc get_bd_addr_spaces {path} {
    lassign [split $path /] cell name
    if {!($::cells($cell) in {zynq_ultra_ps_e processing_system7} && $name eq "Data") && [kind_of $path] ne "master"} {
        error "ERROR: no address space $path"
    }
    return $path
}
proc get_bd_addr_segs {pattern} {
    lassign [split $pattern /] cell map
    switch $::cells($cell) {
        zynq_ultra_ps_e {
            scan $map SAXIGP%d gp
            kind_of $cell/S_AXI_HP[expr {$gp - 2}]_FPD
            set ends {DDR_LOW LPS_OCM QSPI}
            if {[config $cell PSU__DDR_HIGH_ADDRESS_GUI_ENABLE 0]} { lappend ends DDR_HIGH }
            return [lmap end $ends {string cat /$cell/$map/HP [expr {$gp - 2}] _ $end}]
        }
        processing_system7 { kind_of $cell/$map; return [list /$cell/$map/HP[string index $map end]_DDR_LOWOCM] }
        axi_intc { if {$map ne "S_AXI"} { error "ERROR: no $pattern" }; return [list /$cell/S_AXI/Reg] }
        default { if {[kind_of $cell/$map] ne "slave"} { error "ERROR: no $pattern" }; return [list /$cell/$map/reg0] }
    }
}
proc assign_bd_address {args} {
    set words [parse assign_bd_address {-offset 1 -range 1 -target_address_space 1} $args]
    set given [lmap option {-offset -range} {expr {[dict exists $words $option] ? [dict get $words $option] : ""}}]
    record assigned [dict get $words -target_address_space] [lindex [dict get $words rest] 0] {*}$given
}
proc exclude_bd_addr_seg {args} {
    set words [parse exclude_bd_addr_seg {-target_address_space 1} $args]
    record excluded [dict get $words -target_address_space] [lindex [dict get $words rest] 0]
}
proc validate_bd_design {} {
    foreach cell [lsort [array names ::cells]] {
        dict for {pin kind} [pins $cell] { record pin $cell/$pin $kind }
    }
    record validated
}
proc save_bd_design {} { set ::saved 1; record saved }
proc generate_target {what files} {
    if {!$::saved} { error "ERROR: the block design is not saved" }
    record generate_target
    foreach {actual name} {config.psu__crl_apb__pl0_ref_ctrl__act_freqmhz clk_pl_0
                           config.pcw_act_fpga0_peripheral_freqmhz clk_fpga_0} {
        if {[info exists ::property(ps,$actual)]} {
            set ::generated [list $name [format %.3f [expr {1e3 / $::property(ps,$actual)}]]]
        }
    }
    lassign $::project name folder
    set place [file join $folder $name.gen sources_1 bd $::design hw_handoff]
    file mkdir $place
    if {$::fault eq "no_hwh"} { return }
    set file [open [file join $place $::design.hwh] w]
    puts $file "<EDKSYSTEM><MODULES>"
    foreach cell [array names ::cells] {
        set ours [expr {$::cells($cell) eq "moevit"}]
        set vlnv [expr {$ours ? [dict get $::component vlnv] : $::cells($cell)}]
        puts $file "<MODULE INSTANCE=\"$cell\" VLNV=\"$vlnv\">"
        if {$ours && $::fault ne "hwh_registers"} {
            foreach register [dict get $::component registers] { puts $file "<REGISTER NAME=\"$register\"/>" }
        }
        foreach {- each} [array get ::dividers] {
            if {$::fault ne "no_clock" && [info exists ::property($cell,[lindex $each 1])]} {
                set name [string toupper [string range [lindex $each 1] 7 end]]
                set value [expr {$::fault eq "hwh_clock" ? 333.33 : $::property($cell,[lindex $each 1])}]
                puts $file "<PARAMETER NAME=\"$name\" VALUE=\"$value\"/>"
            }
        }
        puts $file "</MODULE>"
    }
    puts $file "</MODULES></EDKSYSTEM>"
    close $file
}
proc make_wrapper {args} { parse make_wrapper {-files 1 -fileset 1 -import 0 -top 0} $args }

# --- as `vivado -mode batch -source FILE` -------------------------------------------------------------------------
set script [dict get [parse vivado {-mode 1 -nojournal 0 -nolog 0 -notrace 0 -source 1} $argv] -source]
record source [file tail $script]
if {$fault eq "exit_0" && [file tail $script] eq "build.tcl"} { exit 0 }
set property(project,board_part) ""
array set property {synth_1,progress 0% impl_1,progress 0%}
if {[catch {source $script} message]} {
    puts $message
    puts $errorInfo
    exit 1
}
