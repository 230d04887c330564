package matrix_test

import (
	"context"
	"fmt"
	"log"

	"github.com/synpunch/synpunch/lab/matrix"
)

// Linux's masquerading, a NAT that filters by address, and one that draws its ports.
func Example() {
	kinds, err := matrix.ParseKinds("linux,adm,random")
	if err != nil {
		log.Fatal(err)
	}
	world, err := matrix.NewSim(&matrix.SimConfig{LearnPort: true})
	if err != nil {
		log.Fatal(err)
	}
	table, err := matrix.Run(context.Background(), world, &matrix.Config{Kinds: kinds, Attempts: 100, Seed: 1})
	if err != nil {
		log.Fatal(err)
	}
	for i := range table.Cells {
		c := &table.Cells[i]
		fmt.Println(c.A.Name, "x", c.B.Name, table.Verdict(c))
	}
	// Output:
	// linux x linux YES
	// linux x adm YES
	// linux x random NO
	// adm x linux YES
	// adm x adm YES
	// adm x random YES
	// random x linux NO
	// random x adm YES
	// random x random NO
}
