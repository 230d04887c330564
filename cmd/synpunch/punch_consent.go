package main

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/synpunch/synpunch/punch"
)

// maxConsent is the longest consent that the command makes, chosen by us: who forgets about
// it has nothing open for longer.
const maxConsent = 24 * time.Hour

func newConsentCommand() *cobra.Command {
	var addr string
	var syns, rate int
	var lasts time.Duration
	cmd := &cobra.Command{
		Use:   "consent --addr IP --syns N [--rate PPS] [--for DURATION]",
		Short: "Allow a peer to fan out to an address of yours",
		Long: `Print a token that says: so many SYNs, so fast, may be sent to this address of
mine until then. Give it to the peer over a channel that you both trust; it goes
to 'synpunch punch --strategy fan --consent TOKEN'.

A token is a statement and not a signature: anybody can write one. Who gets it
should know from whom it comes. docs/responsible.md says what a fan-out is to
the networks between.`,
		Example: `  synpunch consent --addr 203.0.113.7 --syns 129024 --rate 20000 --for 10m`,
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ip, err := netip.ParseAddr(addr)
			switch {
			case err != nil:
				return usagef("--addr %q is not an IP address; it is the public one that the peer sends to", addr)
			case syns < 1 || syns > punch.MaxFanBudget:
				return usagef("--syns %d: want 1 to %d", syns, punch.MaxFanBudget)
			case rate < 1 || rate > punch.MaxFanRate:
				return usagef("--rate %d: want 1 to %d", rate, punch.MaxFanRate)
			case lasts < time.Second || lasts > maxConsent:
				return usagef("--for %v: want 1s to %v", lasts, maxConsent)
			}
			c := punch.Consent{Addr: ip, SYNs: uint32(syns), Rate: uint32(rate), Until: time.Now().Add(lasts + time.Second).Truncate(time.Second)}
			token, err := c.Token()
			if err != nil {
				return exitWith(exitUsage, err)
			}
			took := time.Duration(math.Ceil(float64(syns)/float64(rate))) * time.Second
			fmt.Fprintf(cmd.ErrOrStderr(), "%d SYNs to %v, at most %d a second (%v), until %s\n", syns, ip, rate, took, c.Until.UTC().Format(time.RFC3339))
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			return err
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&addr, "addr", "", "the public `IP` address that the peer may send to")
	fl.IntVar(&syns, "syns", 0, "how many SYNs at most")
	fl.IntVar(&rate, "rate", punch.DefaultFanRate, "how many a second at most")
	fl.DurationVar(&lasts, "for", 10*time.Minute, "how long the consent lasts")
	return cmd
}
