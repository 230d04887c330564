package main

import (
	"github.com/spf13/cobra"

	"github.com/synpunch/synpunch/lab/live"
)

// stockProgram is this program as the one that makes stock attempts in a lab. The path is right in every
// namespace, for every account, and when the file has been replaced meanwhile.
var stockProgram = []string{"/proc/self/exe", "stock-peer"}

func newStockPeerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    stockProgram[1],
		Short:  "Make the attempts of a host in 'sweep --world live --timer sleep', which starts it",
		Hidden: true,
		Args:   usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return live.ServeStock(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}
