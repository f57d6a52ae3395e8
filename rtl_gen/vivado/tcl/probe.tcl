# SPDX-License-Identifier: Apache-2.0
# Before anything long: is the part installed, are there board files, is there a licence.
source [file join [file dirname [info script]] common.tcl]

result version [version -short]
if {[llength [get_parts -quiet [setting part]]] == 0} {
    fail NO_PART "this Vivado has no part [setting part]"
}
result board_part [board_files]

# Elaborating one flip-flop checks the licence out as synthesis would. Without one, Vivado's message says so.
stage "licence for [setting part]"
read_verilog [at rtl probe.v]
synth_design -rtl -top probe -part [setting part]
result licence yes
