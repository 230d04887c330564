// Package page makes a report of an experiment: one HTML page with the question, the
// scenario, tables, figures, ladders of chosen trials, and what it takes to make it
// again.
//
// The page is one file. It loads nothing, runs no script, and a Content-Security-Policy
// forbids it to: it opens in any browser, with or without a network, on a phone, in
// light and dark, and can be printed. All that comes from files is escaped.
//
//	s, err := page.Read("results")
//	...
//	defer s.Close()
//	err = s.Write(w, nil)
//
// ReadAttempt does the same for one attempt. Package lab/sweep/draw gives the figures alone.
package page
