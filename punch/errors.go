package punch

import "errors"

// How an attempt fails. Errors of Do wrap one of these together with the cause.
var (
	ErrRefused     = errors.New("refused")
	ErrUnreachable = errors.New("unreachable")
	ErrTimeout     = errors.New("timed out")
	// ErrMissing: a capability or a kernel feature that the engine needs is not
	// there; the text names the command that grants it.
	ErrMissing = errors.New("not possible on this machine")
)

// outcomeOf is the report's word for an error of an attempt.
func outcomeOf(err error) Outcome {
	switch {
	case err == nil:
		return Established
	case errors.Is(err, ErrRefused):
		return Refused
	case errors.Is(err, ErrUnreachable):
		return Unreachable
	case errors.Is(err, ErrTimeout):
		return Timeout
	}
	return Failed
}
