# SPDX-License-Identifier: Apache-2.0
# The generated Verilog as an IP core. Interfaces come from the wrapper's attributes, registers from the settings.
source [file join [file dirname [info script]] common.tcl]

stage "package [setting ip vlnv]"
create_project -force package [at work package] -part [setting part]
add_files -norecurse [glob [at rtl [setting top]*.v]]
set_property top [setting top] [current_fileset]
update_compile_order -fileset sources_1
ipx::package_project -root_dir [at work ip] -vendor [setting ip vendor] -library [setting ip library] \
    -taxonomy /UserIP -import_files -force
set core [ipx::current_core]
set_property name [setting ip name] $core
set_property version [setting ip version] $core
set_property display_name [setting ip name] $core
set_property description [setting ip description] $core
set_property supported_families {zynquplus Production zynq Production} $core

# What was not inferred would be missing from every design, without a word.
foreach name [list [setting ip lite] {*}[setting ip masters] [setting ip clock] [setting ip reset] \
                  [setting ip interrupt]] {
    if {[llength [ipx::get_bus_interfaces $name -of_objects $core]] != 1} {
        fail SCRIPT "interface $name of [setting top] was not inferred once"
    }
}
foreach name [list [setting ip lite] {*}[setting ip masters]] {
    ipx::associate_bus_interfaces -busif $name -clock [setting ip clock] $core
}
ipx::associate_bus_interfaces -clock [setting ip clock] -reset [setting ip reset] $core
# The clock's frequency is the design's to say; a fixed one would clash with the processor's.
set clock [ipx::get_bus_interfaces [setting ip clock] -of_objects $core]
if {[llength [ipx::get_bus_parameters FREQ_HZ -of_objects $clock]] > 0} {
    ipx::remove_bus_parameter FREQ_HZ $clock
}

# Exactly one address block: with two, PYNQ would name the registers after the interface and not after the core.
set lite [setting ip lite]
if {[llength [ipx::get_memory_maps $lite -of_objects $core]] == 0} {
    ipx::add_memory_map $lite $core
    set_property slave_memory_map_ref $lite [ipx::get_bus_interfaces $lite -of_objects $core]
}
set map [ipx::get_memory_maps $lite -of_objects $core]
foreach block [ipx::get_address_blocks -of_objects $map] {
    ipx::remove_address_block [get_property name $block] $map
}
set block [ipx::add_address_block reg0 $map]
set_property base_address 0 $block
set_property range [setting ip aperture] $block
set_property width 32 $block
set_property usage register $block
set_property access read-write $block
foreach register [setting ip registers] {
    set made [ipx::add_register [dict get $register name] $block]
    set_property description [dict get $register description] $made
    set_property address_offset [format 0x%X [dict get $register offset]] $made
    set_property size 32 $made
    set_property access [dict get $register access] $made
    foreach bit [dict get $register fields] {
        set field [ipx::add_field [dict get $bit name] $made]
        set_property bit_offset [dict get $bit bit] $field
        set_property bit_width 1 $field
        set_property access [dict get $bit access] $field
    }
}

ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
close_project
if {![file exists [at work ip component.xml]]} {
    fail NO_ARTEFACT "component.xml was not written"
}
