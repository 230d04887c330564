package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/synpunch/synpunch/internal/doctor"
)

// insideFlag makes the process that doctor starts in the demo's namespaces.
const insideFlag = "inside"

func newDoctorCommand() *cobra.Command {
	var asJSON, inside bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "What this machine can do, and the command that grants what is missing",
		Long: `Try every capability and kernel feature that a punch may use, by effect
where that is possible, and say which engines work. Under each thing that is
missing stands the command that grants it.

Exit code 0: repair or park works. 3: only connect does.`,
		Example: `  synpunch doctor
  synpunch doctor --json | jq .best`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			if inside {
				return doctor.Inside(cmd.Context(), out)
			}
			r := doctor.Examine(cmd.Context(), &doctor.Config{Inside: func(ctx context.Context) *exec.Cmd {
				return exec.CommandContext(ctx, "/proc/self/exe", "doctor", "--"+insideFlag)
			}})
			if asJSON {
				enc := json.NewEncoder(out)
				enc.SetIndent("", "  ")
				if err := enc.Encode(r); err != nil {
					return err
				}
			} else {
				f, ok := out.(*os.File)
				color := ok && term.IsTerminal(int(f.Fd())) && colorOn()
				if err := r.Text(out, color); err != nil {
					return err
				}
			}
			if code := r.ExitCode(); code != exitDone {
				return exitWith(code, nil)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&inside, insideFlag, false, "look from inside the namespaces of the demo")
	cmd.Flags().MarkHidden(insideFlag)
	return cmd
}
