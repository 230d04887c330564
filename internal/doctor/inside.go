package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
)

// Inside gathers, in a process that Examine has started in the demo's
// namespaces, what works there, and writes it to w for Examine to read.
func Inside(ctx context.Context, w io.Writer) error {
	lab := tryLab() // first: it sets lo up
	f := gather(ctx)
	f.Lab = lab
	if err := json.NewEncoder(w).Encode(f); err != nil {
		return fmt.Errorf("doctor: %w", err)
	}
	return nil
}

// gatherInside runs command in the demo's namespaces and reads what its Inside
// wrote. Facts without CapsKnown say in UserNS why it did not come to that.
func gatherInside(ctx context.Context, command func(context.Context) *exec.Cmd) *Facts {
	cmd := command(ctx)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := runIsolated(cmd); err != nil {
		t := outcome(err)
		if msg := bytes.TrimSpace(stderr.Bytes()); len(msg) > 0 {
			t = Tried{Answer: Unknown, Error: fmt.Sprintf("%v: %.200s", err, msg)}
		}
		return &Facts{UserNS: t}
	}
	f := &Facts{}
	if err := json.Unmarshal(stdout.Bytes(), f); err != nil {
		return &Facts{UserNS: Tried{Answer: Unknown, Error: fmt.Sprintf("what the process inside said is not understood: %v", err)}}
	}
	return f
}
