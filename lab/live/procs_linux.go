package live

import (
	"runtime"
	"sync"
)

// moreProcs is by how much GOMAXPROCS is raised while a link runs. When the goroutine of a link wakes up
// it needs one of the scheduler's places to run Go code, and while others compute in all of them,
// it waits for the scheduler's next round, 10 ms and more, whatever its priority for the
// kernel is. Measured with three computing goroutines on two processors: the median error of
// the delay was 3 ms without, 6 microseconds with four more places. Chosen by us: two sides with
// two goroutines each, as a Trial has.
const moreProcs = 4

var procs struct {
	sync.Mutex
	links          int
	before, raised int
}

// raiseProcs makes room for a link; lowerProcs takes it back with the last one.
func raiseProcs() {
	procs.Lock()
	defer procs.Unlock()
	if procs.links++; procs.links == 1 {
		procs.before = runtime.GOMAXPROCS(0)
		procs.raised = procs.before + moreProcs
		runtime.GOMAXPROCS(procs.raised)
	}
}

func lowerProcs() {
	procs.Lock()
	defer procs.Unlock()
	// If somebody else has set it meanwhile, it is theirs.
	if procs.links--; procs.links == 0 && runtime.GOMAXPROCS(0) == procs.raised {
		runtime.GOMAXPROCS(procs.before)
	}
}
