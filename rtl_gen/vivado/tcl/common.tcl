# SPDX-License-Identifier: Apache-2.0
# Sourced by every script: the settings, the folders, how results and failures are told.

set folder [file dirname [file dirname [file normalize [info script]]]]
source [file join $folder settings.tcl]

# The value of the settings under a path of keys.
proc setting {args} {
    return [dict get $::settings {*}$args]
}

# A path below the build's folder.
proc at {args} {
    return [file join $::folder {*}$args]
}

# One line of progress.
proc stage {text} {
    puts "moevit: $text"
    flush stdout
}

# One line of results, a key and its value, for whoever started Vivado.
proc result {key value} {
    set file [open [at work results.txt] a]
    puts $file "$key $value"
    close $file
}

# End with the exit code of a name and a message.
proc fail {code message} {
    puts "moevit-error: $message"
    flush stdout
    exit [setting exits $code]
}

# The newest version of an IP that this Vivado has.
proc newest_ip {vlnv} {
    set found [lsort -dictionary [get_ipdefs "$vlnv:*"]]
    if {[llength $found] == 0} {
        fail SCRIPT "the IP catalogue has no $vlnv"
    }
    return [lindex $found end]
}

# The newest version of the board's files, or nothing.
proc board_files {} {
    if {[setting preset] eq "own"} {
        return ""
    }
    set found [lsort -dictionary [get_board_parts -quiet [setting board_part]]]
    if {[llength $found] == 0 && [setting preset] eq "board"} {
        fail BOARD_FILES "no board files match [setting board_part]"
    }
    return [lindex $found end]
}
