package page_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/page"
	"github.com/synpunch/synpunch/lab/sweep"
)

// A sweep and its page.
func Example() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 5 trials on the page
}

func run() error {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	side := sweep.Side{NAT: lab.NATLinuxRST, Engine: "connect"}
	cfg := sweep.Config{
		World:    sweep.Sim,
		Axes:     []sweep.Grid{{Axis: sweep.Skew, From: int64(-40 * time.Millisecond), To: int64(40 * time.Millisecond), Step: int64(20 * time.Millisecond)}},
		Arms:     []sweep.Arm{{Name: "connect", A: side, B: side, DelayAB: 30 * time.Millisecond, DelayBA: 30 * time.Millisecond}},
		Trials:   1,
		Captures: sweep.CaptureAll,
	}
	journal, err := sweep.Create(dir, &sweep.Manifest{Config: cfg})
	if err != nil {
		return err
	}
	_, err = sweep.Run(context.Background(), &cfg, &sweep.Options{Record: journal.Add, Dir: dir})
	if err = errors.Join(err, journal.Close()); err != nil {
		return err
	}
	s, err := page.Read(dir)
	if err != nil {
		return err
	}
	defer s.Close()
	file, err := os.Create(filepath.Join(dir, "report.html"))
	if err != nil {
		return err
	}
	fmt.Println(len(s.Rows), "trials on the page")
	return errors.Join(s.Write(file, nil), file.Close())
}
