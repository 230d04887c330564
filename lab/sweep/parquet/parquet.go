package parquet

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/parquet-go/parquet-go"

	"github.com/synpunch/synpunch/lab/sweep"
)

var _ sweep.Writer = (*Writer)(nil)

// groupRows is how many rows are one row group, which is what a reader has to
// have in memory. Chosen by us.
const groupRows = 100_000

// Writer writes rows as Parquet, compressed with Zstandard. The columns are those
// of sweep.Row; what nobody knows is null.
type Writer struct {
	w *parquet.GenericWriter[sweep.Row]
}

// NewWriter writes to w, which Close leaves open. Without Close the file is not
// one.
func NewWriter(w io.Writer) *Writer {
	return &Writer{parquet.NewGenericWriter[sweep.Row](w, parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(groupRows),
		parquet.CreatedBy(sweep.Format, strconv.Itoa(sweep.Version), ""))}
}

// Add writes a row.
func (w *Writer) Add(r *sweep.Row) error {
	if _, err := w.w.Write([]sweep.Row{*r}); err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	return nil
}

// Close writes the end of the file.
func (w *Writer) Close() error {
	if err := w.w.Close(); err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	return nil
}

// Read reads all rows of a file of this size. Columns that are not there are
// zero.
func Read(r io.ReaderAt, size int64) ([]sweep.Row, error) {
	file, err := parquet.OpenFile(r, size)
	if err != nil {
		return nil, fmt.Errorf("read Parquet: %w", err)
	}
	rd := parquet.NewGenericReader[sweep.Row](file)
	rows := make([]sweep.Row, rd.NumRows())
	n, err := rd.Read(rows)
	if errors.Is(err, io.EOF) && int64(n) == rd.NumRows() {
		err = nil
	}
	if err = errors.Join(err, rd.Close()); err != nil {
		return nil, fmt.Errorf("read Parquet: %w", err)
	}
	return rows[:n], nil
}
