package live

import (
	"runtime"
	"sync"
)

// By how much GOMAXPROCS is raised while something runs. When the goroutine of a link wakes up
// it needs one of the scheduler's places to run Go code, and while others compute in all of them,
// it waits for the scheduler's next round, 10 ms and more, whatever its priority for the
// kernel is. Measured with three computing goroutines on two processors: the median error of
// the delay was 3 ms without, 6 microseconds with four more places. Chosen by us.
const (
	linkProcs = 4 // two sides with two goroutines each, as a Trial has
	boxProcs  = 1 // a model NAT has one thread
	endProcs  = 1 // and so has an attempt in this process
)

var procs places

type places struct {
	sync.Mutex
	more           int
	before, raised int
}

// set changes GOMAXPROCS with the sum, unless somebody else has set it meanwhile:
// it is theirs then.
func (p *places) set(n int) {
	p.more += n
	if runtime.GOMAXPROCS(0) == p.raised {
		p.raised = p.before + p.more
		runtime.GOMAXPROCS(p.raised)
	}
}

// raiseProcs makes room for n threads; lowerProcs takes it back.
func raiseProcs(n int) {
	procs.Lock()
	defer procs.Unlock()
	if procs.more == 0 {
		procs.before = runtime.GOMAXPROCS(0)
		procs.raised = procs.before
	}
	procs.set(n)
}

func lowerProcs(n int) {
	procs.Lock()
	defer procs.Unlock()
	procs.set(-n)
}
