# SPDX-License-Identifier: Apache-2.0
# From the packaged IP to a bitstream. Timing is checked before a bitstream is written, runs by their own state.
source [file join [file dirname [info script]] common.tcl]
source [file join [file dirname [info script]] block_design.tcl]
source [file join [file dirname [info script]] timing.tcl]

# Run a run to its end, or fail.
proc complete {run} {
    stage "run $run"
    launch_runs $run -jobs [setting jobs]
    wait_on_run $run
    set progress [get_property PROGRESS [get_runs $run]]
    set status [get_property STATUS [get_runs $run]]
    if {$progress ne "100%" || ![string match *Complete* $status]} {
        fail INCOMPLETE "$run stopped at $progress: $status"
    }
}

# Constrain the processor's clock to `mhz` in the runs to come. Only implementation reads the file, so that the netlist
# stays. The processor's own constraint has the period of the first clock. This one is read later and replaces it.
proc constrain {mhz} {
    set file [open [at work clock.xdc] w]
    puts $file "create_clock -name [setting processor clock_name] -period [format %.3f [expr {1e3 / $mhz}]]\
        \[get_pins \[get_property SOURCE_PINS \[get_clocks [setting processor clock_name]\]\]\]"
    close $file
}

# Fail unless the open design has a clock of `mhz`: the constraint may not have reached it.
proc check_constrained {mhz} {
    set period [get_property PERIOD [get_clocks [setting processor clock_name]]]
    if {abs($period - 1e3 / $mhz) > 0.01} {
        fail SCRIPT "clock [setting processor clock_name] has a period of $period ns, not that of $mhz MHz"
    }
}

proc reports {} {
    stage "reports"
    file mkdir [at reports]
    report_timing_summary -max_paths 20 -report_unconstrained -file [at reports timing.rpt]
    report_utilization -file [at reports utilisation.rpt]
    report_utilization -hierarchical -file [at reports utilisation_by_cell.rpt]
    report_drc -file [at reports drc.rpt]
    report_power -file [at reports power.rpt]
}

set name [setting name]
stage "project $name"
create_project -force $name [at work project] -part [setting part]
set board [board_files]
if {$board ne ""} {
    set_property board_part $board [current_project]
}
if {[get_property part [current_project]] ne [setting part]} {
    fail BOARD_FILES "board files $board are for [get_property part [current_project]], not for [setting part]"
}
set_property ip_repo_paths [at work ip] [current_project]
update_ip_catalog
close [open [at work clock.xdc] w]
add_files -fileset constrs_1 -norecurse [at work clock.xdc]
set_property used_in_synthesis false [get_files clock.xdc]
set_property processing_order LATE [get_files clock.xdc]

stage "block design"
set reached [block_design $board]
generate_target all [get_files $name.bd]
make_wrapper -files [get_files $name.bd] -fileset sources_1 -import -top
set_property top ${name}_wrapper [current_fileset]
update_compile_order -fileset sources_1
set_property strategy Flow_PerfOptimized_high [get_runs synth_1]
set_property strategy Performance_ExplorePostRoutePhysOpt [get_runs impl_1]
complete synth_1

set closed 0
set last ""
foreach asked [setting clocks] {
    set mhz [dict get $reached $asked]
    if {$last ne ""} {
        if {$mhz >= $last} {  # the dividers reach no lower one
            stage "skipped: $asked MHz, $mhz MHz reached"
            continue
        }
        close_design
        constrain $mhz
        reset_run impl_1
    }
    stage "implementation at $asked MHz"
    complete impl_1
    open_run impl_1
    if {$last ne ""} {
        check_constrained $mhz
    }
    reports
    set last $mhz
    set closed [met $asked $mhz "" {wns setup whs hold}]
    if {$closed} break
}
if {!$closed} {
    no_clock_is_met {wns setup whs hold}
}

result version [version -short]
result part [get_property part [current_project]]
result board_part $board
result_of_timing

stage "bitstream at $asked MHz"
write_bitstream -force [at work $name.bit]
if {$asked ne [lindex [setting clocks] 0]} {
    # The handoff tells the host which clock to set. It is written again; the bitstream has no clock in it.
    open_bd_design [get_files $name.bd]
    processor_clock $asked
    validate_bd_design
    save_bd_design
    generate_target all [get_files $name.bd]
}
set handoff [glob -nocomplain [at work project $name.gen sources_1 bd $name hw_handoff $name.hwh]]
if {[llength $handoff] != 1} {
    fail NO_ARTEFACT "$name.hwh was not generated"
}
file copy -force [lindex $handoff 0] [at work $name.hwh]
result done yes
