# SPDX-License-Identifier: Apache-2.0
# From the packaged IP to a bitstream. Timing is checked before a bitstream is written, runs by their own state.
source [file join [file dirname [info script]] common.tcl]
source [file join [file dirname [info script]] block_design.tcl]

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

# The worst slack of a kind of path, ns. A design without paths has no clock, and is no design that was checked.
proc slack {kind} {
    set paths [get_timing_paths -max_paths 1 -nworst 1 -$kind]
    if {[llength $paths] == 0} {
        fail TIMING "no $kind path is constrained"
    }
    return [get_property SLACK [lindex $paths 0]]
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

stage "block design"
block_design $board
result clock_mhz [get_property [setting processor clock_actual] [get_bd_cells ps]]
generate_target all [get_files $name.bd]
make_wrapper -files [get_files $name.bd] -fileset sources_1 -import -top
set_property top ${name}_wrapper [current_fileset]
update_compile_order -fileset sources_1
set_property strategy Flow_PerfOptimized_high [get_runs synth_1]
set_property strategy Performance_ExplorePostRoutePhysOpt [get_runs impl_1]
complete synth_1
complete impl_1

stage "reports"
open_run impl_1
file mkdir [at reports]
report_timing_summary -max_paths 20 -report_unconstrained -file [at reports timing.rpt]
report_utilization -file [at reports utilisation.rpt]
report_utilization -hierarchical -file [at reports utilisation_by_cell.rpt]
report_drc -file [at reports drc.rpt]
report_power -file [at reports power.rpt]
result version [version -short]
result part [get_property part [current_project]]
result board_part $board
foreach {key kind} {wns setup whs hold} {
    set $key [slack $kind]
    result $key [set $key]
}
if {$wns < 0 || $whs < 0} {
    fail TIMING "timing is not met: worst slack $wns ns (setup), $whs ns (hold) at [setting clock_mhz] MHz"
}

stage "bitstream"
write_bitstream -force [at work $name.bit]
set handoff [glob -nocomplain [at work project $name.gen sources_1 bd $name hw_handoff $name.hwh]]
if {[llength $handoff] != 1} {
    fail NO_ARTEFACT "$name.hwh was not generated"
}
file copy -force [lindex $handoff 0] [at work $name.hwh]
result done yes
