// Package draw draws the figures of a sweep: what became of the trials against the
// parameter, with the window that theory gives, times, errors, calibration, and maps
// of two parameters.
//
//	sum, err := sweep.Run(ctx, cfg, nil)
//	if err != nil {
//		return err
//	}
//	return figure.Save("success.svg", draw.Success(sum))
package draw
