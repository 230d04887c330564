package sweep

import (
	"fmt"
	"iter"
	"math/rand/v2"
)

// task is one trial of a plan.
type task struct {
	n     int64
	point int
	trial int // number of the block
	arm   int
}

// plan is the order of all trials of a checked Config.
type plan struct {
	*Config
	grid []Point
}

func newPlan(c *Config) *plan { return &plan{Config: c, grid: c.Points()} }

// Points lists the points of the grid, the first axis moving fastest.
func (c *Config) Points() []Point {
	if len(c.Axes) == 0 {
		return nil
	}
	width, height := c.Axes[0].Len(), 1
	if len(c.Axes) > 1 {
		height = c.Axes[1].Len()
	}
	list := make([]Point, 0, width*height)
	for j := range height {
		for i := range width {
			p := Point{N: len(list), X: c.Axes[0].Value(i)}
			if len(c.Axes) > 1 {
				y := c.Axes[1].Value(j)
				p.Y = &y
			}
			list = append(list, p)
		}
	}
	return list
}

// Len is the number of all trials.
func (c *Config) Len() int {
	n := len(c.Arms) * c.Trials
	for _, g := range c.Axes {
		n *= g.Len()
	}
	return n
}

// tasks lists the trials in the order in which they are made.
func (p *plan) tasks() iter.Seq[task] {
	return func(yield func(task) bool) {
		n := int64(0)
		for trial := range p.Trials {
			rng := rand.New(rand.NewPCG(p.Seed, mix(orderSalt+uint64(trial))))
			for _, point := range rng.Perm(len(p.grid)) {
				for _, arm := range rng.Perm(len(p.Arms)) {
					if !yield(task{n, point, trial, arm}) {
						return
					}
					n++
				}
			}
		}
	}
}

// seedOf is the seed of what a pair of trials draws; the arms share it.
func (p *plan) seedOf(t task) uint64 {
	// 53 bits: JSON readers that have floating point numbers only take them whole.
	return mix(mix(p.Seed+uint64(t.point)*pointSalt)+uint64(t.trial)) >> 11
}

// Constants that keep draws for different ends apart: odd, without a meaning.
const (
	orderSalt = 0x6f72646572000001
	pointSalt = 0x9e3779b97f4a7c15
	worldSalt = 0x776f726c64000001
)

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// matches reports whether a row is of this task.
func (p *plan) matches(t task, r *Row) error {
	if r.N != t.n || r.Point != t.point || r.Trial != t.trial || r.Arm != p.Arms[t.arm].Name || r.Seed != p.seedOf(t) {
		return fmt.Errorf("%w: trial %d is another one than this configuration makes there", ErrConfig, r.N)
	}
	return nil
}

// errForeign says that a row is not one of this sweep.
func errForeign(r *Row) error {
	return fmt.Errorf("%w: row %d (point %d, trial %d, arm %q) is of another sweep", ErrConfig, r.N, r.Point, r.Trial, r.Arm)
}
