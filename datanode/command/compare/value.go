// Package compare compares what a server answers with what it should: RESP values, connections,
// transcripts, and a real redis-server to hold them against.
package compare

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Value is one RESP value. Kind is its first byte; '_' also stands for the absent values of RESP2.
type Value struct {
	Kind byte
	Text string  // of everything that isn't an aggregate
	List []Value // of aggregates; a map's keys and values in turn
}

// Read reads one value.
func Read(r *bufio.Reader) (Value, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return Value{}, err
	}
	if len(line) < 3 || !strings.HasSuffix(line, "\r\n") {
		return Value{}, fmt.Errorf("malformed line %q", line)
	}
	v := Value{Kind: line[0], Text: line[1 : len(line)-2]}
	switch v.Kind {
	case '+', '-', ':', ',', '#', '(':
		return v, nil
	case '_':
		return Value{Kind: '_'}, nil
	case '$', '=', '*', '~', '%', '>':
	default:
		return Value{}, fmt.Errorf("unknown kind in %q", line)
	}
	n, err := strconv.Atoi(v.Text)
	if err != nil {
		return Value{}, fmt.Errorf("length: %w", err)
	}
	if n < 0 {
		return Value{Kind: '_'}, nil
	}
	v.Text = ""
	if v.Kind == '$' || v.Kind == '=' {
		b := make([]byte, n+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return Value{}, err
		}
		v.Text = string(b[:n])
		return v, nil
	}
	if v.Kind == '%' {
		n *= 2
	}
	for range n {
		e, err := Read(r)
		if err != nil {
			return Value{}, err
		}
		v.List = append(v.List, e)
	}
	return v, nil
}

// String renders a value on one or more lines, so that every difference in RESP shows.
func (v Value) String() string {
	var b strings.Builder
	v.render(&b, "")
	return strings.TrimSuffix(b.String(), "\n")
}

func (v Value) render(b *strings.Builder, indent string) {
	switch v.Kind {
	case '$':
		fmt.Fprintf(b, "%q\n", v.Text)
	case '+':
		fmt.Fprintf(b, "%s\n", v.Text)
	case '-':
		fmt.Fprintf(b, "(error) %s\n", v.Text)
	case ':':
		fmt.Fprintf(b, "(integer) %s\n", v.Text)
	case ',':
		fmt.Fprintf(b, "(double) %s\n", v.Text)
	case '_':
		b.WriteString("(nil)\n")
	case '*', '~', '%', '>':
		name := map[byte]string{'*': "array", '~': "set", '%': "map", '>': "push"}[v.Kind]
		fmt.Fprintf(b, "%s of %d\n", name, len(v.List))
		for _, e := range v.List {
			b.WriteString(indent + "  ")
			e.render(b, indent+"  ")
		}
	default:
		fmt.Fprintf(b, "%c%q\n", v.Kind, v.Text)
	}
}

// Sorted returns v with the elements of its list in a fixed order, group neighbours kept together.
func (v Value) Sorted(group int) Value {
	if len(v.List)%group != 0 {
		return v
	}
	chunks := slices.Collect(slices.Chunk(v.List, group))
	slices.SortFunc(chunks, func(a, b []Value) int {
		return strings.Compare(Value{Kind: '*', List: a}.String(), Value{Kind: '*', List: b}.String())
	})
	v.List = slices.Concat(chunks...)
	return v
}
