package sweep

import (
	"encoding"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strconv"
)

// Writer writes rows to a file.
type Writer interface {
	Add(*Row) error
	Close() error // writes what is still to be written; what is below stays open
}

// Columns lists the names of the columns of a Row, in order.
func Columns() []string {
	t := reflect.TypeFor[Row]()
	names := make([]string, t.NumField())
	for i := range names {
		names[i] = t.Field(i).Tag.Get("json")
	}
	return names
}

// NewCSV writes a line of names and a line for each row (RFC 4180, with a bare line feed). What
// nobody knows is empty.
func NewCSV(w io.Writer) (Writer, error) {
	c := &csvWriter{w: csv.NewWriter(w)}
	return c, c.put(Columns())
}

type csvWriter struct{ w *csv.Writer }

func (c *csvWriter) put(fields []string) error {
	if err := c.w.Write(fields); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

func (c *csvWriter) Add(r *Row) error {
	v := reflect.ValueOf(r).Elem()
	fields := make([]string, v.NumField())
	for i := range fields {
		fields[i] = field(v.Field(i))
	}
	return c.put(fields)
}

func (c *csvWriter) Close() error {
	c.w.Flush()
	if err := c.w.Error(); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

// field is a value of a row as CSV has it: as JSON does, without quotes and null.
func field(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	}
	switch x := v.Interface().(type) {
	case encoding.TextMarshaler:
		text, err := x.MarshalText()
		if err != nil {
			return ""
		}
		return string(text)
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64)
	default:
		return fmt.Sprint(x)
	}
}

// NewJSONL writes a JSON object on a line for each row.
func NewJSONL(w io.Writer) Writer { return &jsonlWriter{json.NewEncoder(w)} }

type jsonlWriter struct{ enc *json.Encoder }

func (j *jsonlWriter) Add(r *Row) error {
	if err := j.enc.Encode(r); err != nil {
		return fmt.Errorf("write JSON lines: %w", err)
	}
	return nil
}

func (j *jsonlWriter) Close() error { return nil }
