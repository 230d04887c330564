package main

import (
	"fmt"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/nat"
	"github.com/synpunch/synpunch/nat/odds"
)

// oddsNAT reads a NAT and makes one behaviour of several behind each other. The notes say
// what was made.
func oddsNAT(text string) (nat.Behaviour, []string, error) {
	chain, err := lab.ParseNAT(text)
	if err != nil {
		return nat.Behaviour{}, nil, err
	}
	var list []nat.Behaviour
	for i := range chain {
		list = append(list, chain[i].Behaviour)
	}
	b, err := odds.Chain(list...)
	if err != nil {
		return b, nil, fmt.Errorf("%s: %w", text, err)
	}
	if len(chain) == 1 {
		return b, []string{}, nil
	}
	return b, []string{"taken for one NAT: " + b.String()}, nil
}
