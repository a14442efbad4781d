package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// pieces gives its input in parts of the given lengths, the last again and again.
type pieces struct {
	input []byte
	sizes []int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.input) == 0 {
		return 0, io.EOF
	}
	n := min(len(b), len(p.input), max(1, p.sizes[0]))
	if len(p.sizes) > 1 {
		p.sizes = p.sizes[1:]
	}
	copy(b, p.input[:n])
	p.input = p.input[n:]
	return n, nil
}

// readAll returns every command as its quoted words, then the error.
func readAll(input []byte, trusted bool, sizes ...int) (cmds []string, err error) {
	r := NewReader(&pieces{slices.Clone(input), sizes}, ReaderLimits{})
	for {
		batch, err := r.Next(trusted)
		if err != nil {
			return cmds, err
		}
		for _, c := range batch {
			cmds = append(cmds, fmt.Sprintf("%q", c.Args))
		}
	}
}

func TestReader(t *testing.T) {
	tests := []struct {
		name, input string
		want        []string
		err         string
	}{
		{"one", "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", []string{`["GET" "k"]`}, "EOF"},
		{"pipeline", "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n", []string{`["PING"]`, `["PING"]`}, "EOF"},
		{"empty argument", "*2\r\n$3\r\nGET\r\n$0\r\n\r\n", []string{`["GET" ""]`}, "EOF"},
		{"ignored", "\r\n*0\r\n\n*-1\r\n   \r\nPING\r\n", []string{`["PING"]`}, "EOF"},
		{"inline", "set k  \"a b\\x41\\n\" 'c\\'d' \"\"\n", []string{`["set" "k" "a bA\n" "c'd" ""]`}, "EOF"},
		{"quote inside", "a\"b c\" d\r\n", []string{`["ab c" "d"]`}, "EOF"},
		{"unbalanced", "set \"k\r\n", nil, "ERR Protocol error: unbalanced quotes in request"},
		{"after a quote", "set \"k\"x\r\n", nil, "ERR Protocol error: unbalanced quotes in request"},
		{"commands before the error", "PING\r\n*x\r\n", []string{`["PING"]`}, "ERR Protocol error: invalid multibulk length"},
		{"multibulk too long", "*2000000000\r\n", nil, "ERR Protocol error: invalid multibulk length"},
		{"multibulk overflow", "*99999999999999999999\r\n", nil, "ERR Protocol error: invalid multibulk length"},
		{"bulk too long", "*1\r\n$9223372036854775807\r\n", nil, "ERR Protocol error: invalid bulk length"},
		{"negative bulk", "*1\r\n$-100\r\n", nil, "ERR Protocol error: invalid bulk length"},
		{"nil bulk", "*1\r\n$-1\r\n", nil, "ERR Protocol error: invalid bulk length"},
		{"leading zero", "*1\r\n$01\r\n", nil, "ERR Protocol error: invalid bulk length"},
		{"no dollar", "*1\r\n:1\r\n", nil, "ERR Protocol error: expected '$', got ':'"},
		{"post", "POST / HTTP/1.1\r\nHost: x\r\n", nil, ErrCrossProtocol.Error()},
		{"host", "PING\r\nHost: localhost\r\n", []string{`["PING"]`}, ErrCrossProtocol.Error()},
		{"inline", strings.Repeat("a", 70<<10) + "\n", []string{`["` + strings.Repeat("a", 70<<10) + `"]`}, "EOF"},
		{"inline too long", strings.Repeat("a", 130<<10), nil, "ERR Protocol error: too big inline request"},
		{"inline line too long", strings.Repeat("a", 130<<10) + "\n", nil, "ERR Protocol error: too big inline request"},
		{"mbulk line too long", "*" + strings.Repeat("1", 70<<10), nil, "ERR Protocol error: too big mbulk count string"},
		{"bulk line too long", "*1\r\n$" + strings.Repeat("1", 70<<10), nil, "ERR Protocol error: too big bulk count string"},
		{"large", "*2\r\n$4\r\nECHO\r\n$200000\r\n" + strings.Repeat("v", 200000) + "\r\nPING\r\n",
			[]string{`["ECHO" "` + strings.Repeat("v", 200000) + `"]`, `["PING"]`}, "EOF"},
	}
	for _, tt := range tests {
		for _, size := range []int{1 << 20, 1, 3, 1000} {
			t.Run(fmt.Sprintf("%s/%d", tt.name, size), func(t *testing.T) {
				got, err := readAll([]byte(tt.input), true, size)
				if !slices.Equal(got, tt.want) || err.Error() != tt.err {
					t.Errorf("got %.200q, %v, want %.200q, %v", got, err, tt.want, tt.err)
				}
			})
		}
	}
}

func TestReaderBeforeAuthentication(t *testing.T) {
	tests := []struct{ name, input, err string }{
		{"arguments", "*11\r\n", "ERR Protocol error: unauthenticated multibulk length"},
		{"bulk", "*1\r\n$16385\r\n", "ERR Protocol error: unauthenticated bulk length"},
		{"inline bytes", strings.Repeat("a", 17<<10), "ERR Protocol error: too big inline request"},
		{"inline words", strings.Repeat("a ", 11) + "\n", "ERR Protocol error: unauthenticated multibulk length"},
		{"within", "*10\r\n" + strings.Repeat("$1\r\na\r\n", 10), "EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := readAll([]byte(tt.input), false, 1<<20); err.Error() != tt.err {
				t.Errorf("got %v, want %v", err, tt.err)
			}
		})
	}
	r := NewReader(strings.NewReader("PING\r\nPING\r\n"), ReaderLimits{})
	if batch, err := r.Next(false); len(batch) != 1 || err != nil {
		t.Errorf("an unauthenticated batch has %d commands, %v", len(batch), err)
	}
}

func TestReaderLetsGoOfLargeBuffers(t *testing.T) {
	input := "*2\r\n$4\r\nECHO\r\n$8000000\r\n" + strings.Repeat("v", 8000000) + "\r\n"
	r := NewReader(strings.NewReader(input), ReaderLimits{})
	if _, err := r.Next(true); err != nil {
		t.Fatal(err)
	}
	if len(r.buf) > 2*len(input) {
		t.Errorf("the buffer has %d bytes for %d of input", len(r.buf), len(input))
	}
	if _, err := r.Next(true); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if len(r.buf) > keepBytes {
		t.Errorf("an idle connection keeps %d bytes", len(r.buf))
	}
}

// endless repeats a pipeline.
type endless struct {
	text []byte
	at   int
}

func (e *endless) Read(b []byte) (int, error) {
	n := copy(b, e.text[e.at:])
	e.at = (e.at + n) % len(e.text)
	return n, nil
}

func TestReaderAllocatesNothing(t *testing.T) {
	r := NewReader(&endless{text: bytes.Repeat([]byte("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n"), 16)}, ReaderLimits{})
	for range 100 { // to its size
		if _, err := r.Next(true); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(1000, func() { _, _ = r.Next(true) }); n != 0 {
		t.Errorf("%v allocations per batch", n)
	}
}

func BenchmarkReader(b *testing.B) {
	const pipeline = 16
	one := []byte("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000012345\r\n$100\r\n" + strings.Repeat("v", 100) + "\r\n")
	r := NewReader(&endless{text: bytes.Repeat(one, pipeline)}, ReaderLimits{})
	b.ReportAllocs()
	b.SetBytes(int64(len(one)))
	for n := 0; n < b.N; {
		cmds, err := r.Next(true)
		if err != nil {
			b.Fatal(err)
		}
		n += len(cmds)
	}
}

func FuzzReader(f *testing.F) {
	for _, s := range []string{
		"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "PING\r\n", "*0\r\n\r\n*-1\r\n", "*1\r\n$9223372036854775807\r\n", "*2000000000\r\n",
		"*1\r\n$-1\r\n", "set \"a\\x41\" 'b'\r\n", "POST / HTTP/1.1\r\n", "*1\r\n:3\r\n", "*10\r\n$1\r\na\r\n$1\r\nb\r\nPING\n", "\x00\r\n\x00",
	} {
		f.Add([]byte(s), uint8(1), true)
		f.Add([]byte(s), uint8(7), false)
	}
	f.Fuzz(func(t *testing.T, input []byte, size uint8, trusted bool) {
		want, wantErr := readAll(input, trusted, len(input)+1)
		got, err := readAll(input, trusted, int(size), 1, 2, int(size)+3)
		if !slices.Equal(got, want) || err.Error() != wantErr.Error() {
			t.Errorf("in parts: %q, %v; at once: %q, %v", got, err, want, wantErr)
		}
		r := NewReader(bytes.NewReader(input), ReaderLimits{})
		for {
			if _, err := r.Next(trusted); err != nil {
				break
			}
		}
		if len(r.buf) > max(2*len(input), keepBytes)+startBytes {
			t.Errorf("%d bytes of buffer for %d of input", len(r.buf), len(input))
		}
		// An empty argument has six bytes, and costs its marks and its word; a batch has a bound.
		if most := 32*len(input) + 512<<10; r.held() > most {
			t.Errorf("%d bytes are held for %d of input", r.held(), len(input))
		}
	})
}
