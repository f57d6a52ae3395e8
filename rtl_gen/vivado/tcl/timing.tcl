# SPDX-License-Identifier: Apache-2.0
# Timing at one clock: the worst slacks of the open design, and the record of all clocks that were tried.

# The worst slack of a kind of path, ns. A design without paths has no clock, and is no design that was checked.
proc slack {kind} {
    set paths [get_timing_paths -max_paths 1 -nworst 1 -$kind]
    if {[llength $paths] == 0} {
        fail TIMING "no $kind path is constrained"
    }
    return [get_property SLACK [lindex $paths 0]]
}

# Judge the open design at `asked` MHz, of which the dividers reach `reached`, by its `kinds` of paths (key, kind).
# Returns whether timing is met. Every clock has a line in reports/clocks.txt, and one that is not met keeps its report.
set tried {}
proc met {asked reached prefix kinds} {
    set entry [dict create asked $asked reached $reached]
    set good 1
    foreach {key kind} $kinds {
        dict set entry $key [slack $kind]
        if {[dict get $entry $key] < 0} {
            set good 0
        }
    }
    lappend ::tried $entry
    set file [open [at reports ${prefix}clocks.txt] [expr {[llength $::tried] == 1 ? "w" : "a"}]]
    puts $file "[attempt $entry $kinds] ($reached MHz reached): [expr {$good ? {met} : {not met}}]"
    close $file
    if {!$good} {
        stage "timing is not met: [attempt $entry $kinds]"
        file copy -force [at reports ${prefix}timing.rpt] [at reports ${prefix}timing_${asked}MHz.rpt]
    }
    return $good
}

# An entry of the record in words.
proc attempt {entry kinds} {
    set slacks {}
    foreach {key kind} $kinds {
        lappend slacks "[dict get $entry $key] ns ($kind)"
    }
    return "[join $slacks {, }] at [dict get $entry asked] MHz"
}

# End: timing is met at no clock of the list.
proc no_clock_is_met {kinds} {
    set all {}
    foreach entry $::tried {
        lappend all [attempt $entry $kinds]
    }
    fail TIMING "timing is not met: worst slack [join $all {; }]"
}

# The results of the last clock tried, which is met.
proc result_of_timing {} {
    result tried [join $::tried ,]
    set last [lindex $::tried end]
    dict for {key value} [dict remove $last asked reached] {
        result $key $value
    }
    result clock_mhz [dict get $last reached]
}
