package doctor

import (
	"github.com/synpunch/synpunch/timing"
)

// Facts is what the system answered, before anybody thought about it. The
// process inside the namespaces hands it over as JSON.
type Facts struct {
	OS, Kernel, Arch string
	CPUs, UID        int

	Program       string // path of the running program
	ProgramTemp   bool   // built by go run or go test, gone afterwards
	ProgramNoSuid bool   // on a file system that ignores file capabilities

	CapsKnown                      bool
	Effective, Permitted, Bounding uint64
	NoNewPrivs                     bool
	Undumpable                     bool   // prctl(2), PR_SET_DUMPABLE: so it is after execve of a file with capabilities
	Seccomp                        int    // prctl(2), PR_GET_SECCOMP: 0 off, 1 strict, 2 filter
	InitialUserNS                  Answer // is the user namespace the machine's own
	Container                      string

	Sysctl map[string]string // by path under /proc/sys; what cannot be read is absent

	Packet, Raw4, Raw6, Repair Tried
	Loopback, IPv6             Tried
	IPv6Global                 bool
	RxStamp, TxStamp           Tried
	FIFO, CPULatency           Tried

	Clock       timing.Clock
	ClockTried  Tried
	Clocksource string

	Chains      []Chain // of nftables, in this network namespace
	ChainsTried Tried
	Legacy      []string // tables of the older iptables
	LegacyTried Tried

	UserNS Tried // a user and a network namespace were made
	Lab    Tried // inside them: namespaces, veth, forwarding, NAT
}

// Tried is what came of trying something.
type Tried struct {
	Answer Answer
	Errno  int    // of the error, 0 if none or not known
	Error  string // in words
}

// Chain is a base chain of nftables.
type Chain struct {
	Family, Table, Name, Type, Hook string
	Drop                            bool // its policy
	Stateful                        bool // a rule asks conntrack, or it translates addresses
}
