// Package sweep makes trials over a grid of one parameter or two (the skew of two
// SYNs, the delay between the NATs, ...), in a simulation or with real
// packets, and says for each point what became of them, with confidence
// intervals.
//
//	cfg := &sweep.Config{
//		World:  sweep.Sim,
//		Axes:   []sweep.Grid{{Axis: sweep.Skew, From: int64(-60 * time.Millisecond), To: int64(60 * time.Millisecond), Step: int64(2 * time.Millisecond)}},
//		Arms:   []sweep.Arm{{Name: "connect", A: side, B: side, DelayAB: 20 * time.Millisecond, DelayBA: 20 * time.Millisecond}},
//		Trials: 20,
//	}
//	sum, err := sweep.Run(ctx, cfg, nil)
//
// # Order
//
// The trials are made in blocks. A block has one trial of each arm at each
// point: the points in an order drawn for the block, and at each point the arms
// one after the other in an order drawn for the point. A machine that grows
// slower does therefore not look like an effect of the parameter, two arms meet the same
// machine, and a sweep that is stopped has as many trials at each point, give
// or take one. The order follows from Config.Seed.
//
// The trials of the arms at one point in one block are a pair: they have the same draws
// of what is random in the world (errors of clocks and timers, jitter, loss), and
// Summary.Paired compares them.
//
// # Data
//
// A Row is one trial and is flat: its JSON names are the columns of every format.
// docs/sweep.md describes the columns and the directory of a sweep.
package sweep
