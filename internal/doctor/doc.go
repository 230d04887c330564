// Package doctor says what this machine can do for synpunch, and for each thing
// that is missing the exact command that grants it.
//
// Gathering (what the kernel answers) and judging (what that means) are apart:
// judge is a pure function of Facts, and gathering tries things instead of
// guessing from versions and flags: it opens the sockets, switches TCP_REPAIR on
// and off, stamps a datagram on lo, makes the namespaces. Nothing it does stays
// behind or leaves the machine.
//
// # JSON
//
// Result marshals to one object, which only grows; version counts changes that
// are more than that.
//
//	version      1
//	machine      os, kernel, arch, cpus, uid, container ("" when none was noticed), program (path)
//	checks       a list of checks
//	inside       the checks that count in the namespaces that `synpunch demo` makes; absent when
//	             they could not be made or nobody looked
//	engines      for repair, park and connect: engine, works (yes, no, unknown), missing (ids of checks), detail
//	best         the engine that `--engine auto` takes; "" when none works
//	demo         yes, no or unknown: would `synpunch demo` run
//
// A check has
//
//	id       stable name, such as "cap-net-raw"
//	group    privileges, sockets, time, network or lab
//	title    what is asked, as a statement
//	answer   yes, no or unknown
//	level    "needed" by an engine or the demo, "helps" exactness, or "info": nothing depends on it
//	detail   what was found, in words; may be ""
//	fix      for a no: commands that grant it, the first one fits this machine best; absent when there is nothing to do
package doctor
