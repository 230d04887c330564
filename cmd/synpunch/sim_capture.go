package main

import (
	"os"

	"github.com/synpunch/synpunch/lab/sim"
)

// simCapture is a file with the packets of a simulated trial.
type simCapture struct {
	*sim.Capture
	file *os.File
}

func createSimCapture(name string) (*simCapture, error) {
	file, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	c, err := sim.NewCapture(file)
	if err != nil {
		file.Close()
		return nil, err
	}
	return &simCapture{c, file}, nil
}

// Close ends the file; its error is the first of all.
func (c *simCapture) Close() error {
	err := c.Err()
	if cerr := c.file.Close(); err == nil {
		err = cerr
	}
	return err
}
