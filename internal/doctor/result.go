package doctor

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"time"
)

// Version is the version of the JSON object.
const Version = 1

// Answer to the question of a check.
type Answer string

// The three answers.
const (
	Yes     Answer = "yes"
	No      Answer = "no"
	Unknown Answer = "unknown"
)

// Level says what depends on a check.
type Level string

// The three levels.
const (
	Needed Level = "needed" // an engine or the demo does not work without it
	Helps  Level = "helps"  // results are less exact or complete without it
	Info   Level = "info"   // good to know
)

// Check is one question and its answer.
type Check struct {
	ID     string   `json:"id"`
	Group  string   `json:"group"`
	Title  string   `json:"title"`
	Answer Answer   `json:"answer"`
	Level  Level    `json:"level"`
	Detail string   `json:"detail"`
	Fix    []string `json:"fix,omitempty"`
}

// Engine says whether one engine works here.
type Engine struct {
	Engine  string   `json:"engine"`
	Works   Answer   `json:"works"`
	Missing []string `json:"missing"` // ids of checks that are not answered yes
	Detail  string   `json:"detail"`
}

// Machine is where the result is from.
type Machine struct {
	OS        string `json:"os"`
	Kernel    string `json:"kernel"`
	Arch      string `json:"arch"`
	CPUs      int    `json:"cpus"`
	UID       int    `json:"uid"`
	Container string `json:"container"`
	Program   string `json:"program"`
}

// Result is everything that was found.
type Result struct {
	Version int      `json:"version"`
	Machine Machine  `json:"machine"`
	Checks  []Check  `json:"checks"`
	Inside  []Check  `json:"inside,omitempty"`
	Engines []Engine `json:"engines"`
	Best    string   `json:"best"`
	Demo    Answer   `json:"demo"`
}

// Config tells Examine how to look further.
type Config struct {
	// Inside makes a command that runs Inside(w) in a process of its own, w being
	// that process's standard output: this program again, with a hidden flag.
	// Examine starts it in the namespaces that the demo would use. Nil leaves
	// the question whether the demo would run unanswered.
	Inside func(ctx context.Context) *exec.Cmd
	// Timeout bounds the whole examination; 0 means 10 s.
	Timeout time.Duration
}

const defaultTimeout = 10 * time.Second

// Examine looks at this machine, from the calling process's privileges and
// network namespace. What cannot be found out is answered with unknown.
func Examine(ctx context.Context, cfg *Config) Result {
	if cfg == nil {
		cfg = &Config{}
	}
	timeout := cfg.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	outside := gather(ctx)
	var inside *Facts
	if cfg.Inside != nil {
		inside = gatherInside(ctx, cfg.Inside)
	}
	return judge(outside, inside)
}

// Check finds a check by its id.
func (r *Result) Check(id string) (Check, bool) {
	if i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.ID == id }); i >= 0 {
		return r.Checks[i], true
	}
	return Check{}, false
}

// ExitCode is what the command ends with: 0 when an engine that crafts its SYNs
// works (repair or park), 3 when only connect does, or none.
func (r *Result) ExitCode() int {
	if r.Best == "repair" || r.Best == "park" {
		return 0
	}
	return 3
}

// Summary is one line about the engine that auto takes.
func (r *Result) Summary() string {
	switch r.Best {
	case "repair":
		return "--engine auto takes repair: every field of the SYN is ours"
	case "park":
		return "--engine auto takes park: exact sending, but the kernel chooses the SYN, and an RST or ICMP error costs it the socket"
	case "connect":
		return "--engine auto takes connect: the kernel's own connect(), no crafted SYN and no capture"
	}
	return fmt.Sprintf("no engine works on %s; analyze does", r.Machine.OS)
}
