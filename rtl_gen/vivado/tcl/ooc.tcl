# SPDX-License-Identifier: Apache-2.0
# The core alone, out of context: what it needs and how fast it is, without a processor around it.
source [file join [file dirname [info script]] common.tcl]
source [file join [file dirname [info script]] timing.tcl]

stage "synthesis of [setting top]"
read_verilog [glob [at rtl [setting top]*.v]]
read_xdc -mode out_of_context [at ooc.xdc]
synth_design -mode out_of_context -top [setting top] -part [setting part]
file mkdir [at reports]
report_utilization -file [at reports ooc_synthesis.rpt]
write_checkpoint -force [at work ooc_synthesis.dcp]
close_project

# Every clock begins with the synthesised netlist, which is that of the fastest clock. Only its period is another one.
set closed 0
foreach mhz [setting clocks] {
    stage "placing and routing at $mhz MHz"
    open_checkpoint [at work ooc_synthesis.dcp]
    create_clock -name [setting ip clock] -period [format %.3f [expr {1e3 / $mhz}]] [get_ports [setting ip clock]]
    opt_design
    place_design
    phys_opt_design
    route_design
    report_timing_summary -max_paths 20 -file [at reports ooc_timing.rpt]
    report_utilization -file [at reports ooc_utilisation.rpt]
    report_utilization -hierarchical -file [at reports ooc_utilisation_by_cell.rpt]
    write_checkpoint -force [at work ooc.dcp]
    set closed [met $mhz $mhz ooc_ {wns setup}]
    if {$closed} break
    close_project
}
if {!$closed} {
    no_clock_is_met {wns setup}
}
result version [version -short]
result part [setting part]
result_of_timing
result done yes
