# SPDX-License-Identifier: Apache-2.0
# The core alone, out of context: what it needs and how fast it is, without a processor around it.
source [file join [file dirname [info script]] common.tcl]

stage "synthesis of [setting top]"
read_verilog [glob [at rtl [setting top]*.v]]
read_xdc -mode out_of_context [at ooc.xdc]
synth_design -mode out_of_context -top [setting top] -part [setting part]
file mkdir [at reports]
report_utilization -file [at reports ooc_synthesis.rpt]
stage "placing and routing"
opt_design
place_design
phys_opt_design
route_design
report_utilization -file [at reports ooc_utilisation.rpt]
report_utilization -hierarchical -file [at reports ooc_utilisation_by_cell.rpt]
report_timing_summary -max_paths 20 -file [at reports ooc_timing.rpt]
write_checkpoint -force [at work ooc.dcp]

set paths [get_timing_paths -max_paths 1 -nworst 1 -setup]
if {[llength $paths] == 0} {
    fail TIMING "no path is constrained"
}
set slack [get_property SLACK [lindex $paths 0]]
result version [version -short]
result part [setting part]
result wns $slack
if {$slack < 0} {
    fail TIMING "timing is not met: worst slack $slack ns at [setting clock_mhz] MHz"
}
result done yes
