package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/nat"
)

// The object that lab kinds --json prints, docs/scenario.md.
const (
	kindsFormat  = "synpunch/kinds"
	kindsVersion = 1
)

func newLabCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "What the lab is made of",
		Long: `The lab is a small internet on one machine: demo and matrix build it from network
namespaces, sim runs it in virtual time. docs/scenario.md describes it.`,
		Example: `  synpunch lab kinds`,
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLabKindsCommand())
	return cmd
}

func newLabKindsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "kinds [KIND]... [flags]",
		Short: "List the kinds of NAT and what each does",
		Long: `List the kinds of NAT that the lab has, in the words of RFC 4787 and RFC 5382. Live,
those marked 'kernel' are this kernel's own (the model of one is model:NAME), and
the others are the model; in a simulation all are the model.

With a KIND print what it consists of, knob by knob. It may be any text that
--nat-a takes: a name, a name and knobs that differ, knobs alone, and several of
them joined by +.`,
		Example: `  synpunch lab kinds
  synpunch lab kinds cgn
  synpunch lab kinds eim+cgn,max-mappings=64
  synpunch lab kinds --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			list := lab.Kinds()
			if len(args) > 0 {
				list = nil
			}
			for _, text := range args {
				chain, err := lab.ParseNAT(text)
				if err != nil {
					return exitWith(exitUsage, err)
				}
				for i := range chain {
					list = append(list, chain[i].Kind())
				}
			}
			out := cmd.OutOrStdout()
			switch {
			case asJSON:
				return writeKindsJSON(out, list)
			case len(args) > 0:
				return writeKnobs(out, list)
			}
			return writeKinds(out, list)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object (docs/scenario.md)")
	cmd.ValidArgsFunction = cobra.FixedCompletions(append(natNames(true), natNames(false)...), cobra.ShellCompDirectiveNoFileComp)
	return cmd
}

func writeKindsJSON(w io.Writer, list []lab.Kind) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(struct {
		Format  string     `json:"format"`
		Version int        `json:"version"`
		Kinds   []lab.Kind `json:"kinds"`
		Knobs   []nat.Knob `json:"knobs"`
	}{kindsFormat, kindsVersion, list, nat.Knobs()})
}

// writeKinds prints one line for each kind.
func writeKinds(w io.Writer, list []lab.Kind) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KIND\tLIVE\tMAPPING\tFILTERING\tEXTERNAL PORT\tCROSSING SYN\tAN UNASKED SYN IS")
	for _, k := range list {
		live := "model"
		if k.Kernel {
			live = "kernel"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.Name, live, k.Mapping, k.Filtering, k.Allocation, k.Crossing, k.Unsolicited)
	}
	return t.Flush()
}

// writeKnobs prints every knob of each kind.
func writeKnobs(w io.Writer, list []lab.Kind) error {
	for i, k := range list {
		if i > 0 {
			fmt.Fprintln(w)
		}
		about := k.About
		if k.Kernel {
			about += "; live it is this kernel's own"
		}
		if about != "" {
			about = ": " + about
		}
		fmt.Fprintf(w, "%s%s\n", k.Name, about)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, knob := range nat.Knobs() {
			value, err := k.Behaviour.Get(knob.Name)
			if err != nil {
				return err
			}
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", knob.Name, value, knob.Source, knob.About)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}
