// Package resp is the edge that Redis clients connect to: it reads commands, keeps connections within
// their limits, and writes replies. What commands mean is package command's.
package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/tidwall/redcon"
)

// ProtocolError is malformed input. Its text is the RESP error, in Redis' words; the connection ends
// after it.
type ProtocolError string

func (e ProtocolError) Error() string { return "ERR Protocol error: " + string(e) }

// ErrCrossProtocol says that the peer speaks HTTP, as a browser does that was talked into it. The
// connection ends without a word.
var ErrCrossProtocol = errors.New("HTTP on the RESP port")

// ReaderLimits bound what one connection may send; sizes are bytes.
type ReaderLimits struct {
	BulkBytes int // one argument; default 512 MiB
	Args      int // arguments of one command; default 1,048,576
	// InlineBytes is the line of a length, and half of an inline command: of those Redis executes longer ones
	// than its 64 KiB when their end arrives in time, and here the time doesn't matter. Default 64 KiB.
	InlineBytes int
	QueryBytes  int // one command; default 1 GiB
	// Before authentication an argument has at most 16 KiB, an inline command too, and a command at
	// most ten arguments.
}

const (
	anonymousBulkBytes = 16 << 10
	anonymousArgs      = 10
	// startBytes is the buffer of a new or idle connection, keepBytes the largest that outlives a batch.
	startBytes = 4 << 10
	keepBytes  = 64 << 10
	// keepArgs is how many argument slots outlive a batch. A batch ends at batchArgs, whose slots are within that.
	keepArgs  = 4096
	batchArgs = 2048
)

func (l *ReaderLimits) setDefaults() {
	orDefault(&l.BulkBytes, 512<<20)
	orDefault(&l.Args, 1<<20)
	orDefault(&l.InlineBytes, 64<<10)
	orDefault(&l.QueryBytes, 1<<30)
}

// Reader reads commands from one buffer. It goes on where it stopped when more bytes arrive, never
// reads a byte twice, and allocates only to grow the buffer, which follows what has arrived.
type Reader struct {
	src    io.Reader
	limits ReaderLimits
	buf    []byte
	start  int  // of the first command that wasn't returned
	end    int  // of what was read
	filled bool // the last read left no room
	capped bool // the last batch has ended before what was read
	err    error
	grown  func() error // called before a read, when the buffers may have grown; an error ends the reading

	// The command in progress. Positions count from start, so that the buffer may move.
	pos   int   // the next byte to look at
	scan  int   // up to here there is no end of the line
	args  int   // still to come; 0 between commands
	bulk  int   // length of the argument at pos; -1 when its line comes next
	marks []int // from and to of each argument

	cmds  []redcon.Command
	words [][]byte
}

// NewReader returns a Reader of src.
func NewReader(src io.Reader, limits ReaderLimits) *Reader {
	limits.setDefaults()
	return &Reader{src: src, limits: limits, buf: make([]byte, startBytes), bulk: -1}
}

// Next returns every whole command that has been read, at least one. They are good until the next
// call. Of a peer that isn't trusted it returns one command at a time, within tighter limits. Errors
// are a ProtocolError, ErrCrossProtocol, and the source's; commands before the error come first.
func (r *Reader) Next(trusted bool) ([]redcon.Command, error) {
	r.recycle()
	for {
		for r.err == nil {
			whole, err := r.parse(trusted)
			if err != nil {
				r.err = err
			}
			r.capped = whole && (len(r.words) >= batchArgs || (!trusted && len(r.cmds) > 0))
			if !whole || r.capped {
				break
			}
		}
		if len(r.cmds) > 0 {
			return r.cmds, nil
		}
		if r.err != nil {
			return nil, r.err
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// recycle forgets the commands of the last batch.
func (r *Reader) recycle() {
	if cap(r.words) > keepArgs {
		r.words = nil
	}
	if cap(r.cmds) > keepArgs {
		r.cmds = nil
	}
	r.cmds, r.words = r.cmds[:0], r.words[:0]
}

// fill reads once. Nothing refers to the buffer then.
func (r *Reader) fill() error {
	pending := r.end - r.start
	switch {
	case len(r.buf) > keepBytes && pending < startBytes && r.want() <= keepBytes:
		r.resize(max(startBytes, r.want()))
		r.cmds, r.words = nil, nil // whose arguments hold on to the large buffer
	case r.filled && len(r.buf) < keepBytes:
		r.resize(2 * len(r.buf)) // the peer sends faster than the buffer takes
	case r.start > 0:
		r.end, r.start = copy(r.buf, r.buf[r.start:r.end]), 0
	}
	if r.end == len(r.buf) {
		if r.end >= r.limits.QueryBytes {
			return ProtocolError("too big query")
		}
		// At most twice what has arrived, however much was announced.
		size := 2 * len(r.buf)
		if w := r.want(); w > len(r.buf) && w < size {
			size = w
		}
		r.resize(min(size, r.limits.QueryBytes))
	}
	if r.grown != nil {
		if err := r.grown(); err != nil {
			return err
		}
	}
	n, err := r.src.Read(r.buf[r.end:])
	r.end += n
	r.filled = r.end == len(r.buf)
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// more reports whether there may be something to read without the source saying so again.
func (r *Reader) more() bool { return r.filled || r.capped || r.err != nil }

// large reports whether the buffer is larger than what outlives a batch.
func (r *Reader) large() bool { return len(r.buf) > keepBytes }

// held returns the size of the buffers, in bytes.
func (r *Reader) held() int {
	return cap(r.buf) + cap(r.marks)*int(unsafe.Sizeof(0)) + cap(r.words)*int(unsafe.Sizeof([]byte{})) + cap(r.cmds)*int(unsafe.Sizeof(redcon.Command{}))
}

// slim lets go of buffers that hold nothing, between two calls of Next.
func (r *Reader) slim() {
	r.cmds, r.words, r.filled = nil, nil, false
	if r.args == 0 {
		r.marks = nil
	}
	if r.end-r.start < startBytes && len(r.buf) > startBytes {
		r.resize(startBytes)
	}
}

// resize moves what is pending to a new buffer.
func (r *Reader) resize(size int) {
	b := make([]byte, max(size, r.end-r.start))
	r.end, r.start, r.buf = copy(b, r.buf[r.start:r.end]), 0, b
}

// want is how many bytes from start the argument in progress needs; 0 when none is.
func (r *Reader) want() int {
	if r.bulk < 0 {
		return 0
	}
	return r.pos + r.bulk + 2
}

// at returns the bytes from the parser's position on.
func (r *Reader) at() []byte { return r.buf[r.start+r.pos : r.end] }

// parse goes on with the command in progress, and reports whether it took a step to its end: a whole
// command, or nothing that has to be answered.
func (r *Reader) parse(trusted bool) (whole bool, err error) {
	if r.args == 0 {
		b := r.at()
		if len(b) == 0 {
			return false, nil
		}
		if b[0] != '*' {
			return r.inline(trusted)
		}
		line, ok, err := r.line("too big mbulk count string")
		if !ok {
			return false, err
		}
		n, ok := length(line[1:])
		switch {
		case !ok || n > r.limits.Args:
			return false, ProtocolError("invalid multibulk length")
		case n > anonymousArgs && !trusted:
			return false, ProtocolError("unauthenticated multibulk length")
		case n <= 0:
			r.consume()
			return true, nil
		}
		r.args = n
	}
	return r.multibulk(trusted)
}

// multibulk reads the arguments that are still to come.
func (r *Reader) multibulk(trusted bool) (whole bool, err error) {
	for r.args > 0 {
		if r.bulk < 0 {
			line, ok, err := r.line("too big bulk count string")
			if !ok {
				return false, err
			}
			if len(line) == 0 || line[0] != '$' {
				return false, ProtocolError(fmt.Sprintf("expected '$', got '%c'", first(line)))
			}
			n, ok := length(line[1:])
			switch {
			case !ok || n < 0 || n > r.limits.BulkBytes:
				return false, ProtocolError("invalid bulk length")
			case n > anonymousBulkBytes && !trusted:
				return false, ProtocolError("unauthenticated bulk length")
			}
			r.bulk = n
		}
		if len(r.at()) < r.bulk+2 {
			return false, nil
		}
		r.marks = append(r.marks, r.pos, r.pos+r.bulk)
		r.pos += r.bulk + 2 // like Redis, it doesn't look at the two bytes behind
		r.scan, r.bulk = r.pos, -1
		r.args--
	}
	return true, r.finish()
}

// finish makes a command of the marks.
func (r *Reader) finish() error {
	from := len(r.words)
	for i := 0; i < len(r.marks); i += 2 {
		r.words = append(r.words, r.buf[r.start+r.marks[i]:r.start+r.marks[i+1]:r.start+r.marks[i+1]])
	}
	args := r.words[from:len(r.words):len(r.words)]
	raw := r.buf[r.start : r.start+r.pos]
	r.consume()
	if len(args) == 0 {
		return nil
	}
	if foreign(args[0]) {
		return ErrCrossProtocol
	}
	r.cmds = append(r.cmds, redcon.Command{Raw: raw, Args: args})
	return nil
}

// consume moves behind the command in progress.
func (r *Reader) consume() {
	r.start += r.pos
	r.pos, r.scan, r.args, r.bulk = 0, 0, 0, -1
	if cap(r.marks) > 2*keepArgs {
		r.marks = nil
	}
	r.marks = r.marks[:0]
}

// line returns the line at pos, without its end, and moves behind it. ok is false when it isn't whole.
func (r *Reader) line(tooBig ProtocolError) (line []byte, ok bool, err error) {
	b := r.buf[r.start:r.end]
	i := bytes.IndexByte(b[r.scan:], '\r')
	if i < 0 || r.scan+i+1 >= len(b) {
		if i < 0 {
			r.scan = len(b)
		} else {
			r.scan += i
		}
		if len(b)-r.pos > r.limits.InlineBytes {
			return nil, false, tooBig
		}
		return nil, false, nil
	}
	end := r.scan + i
	line = b[r.pos:end]
	r.pos, r.scan = end+2, end+2
	return line, true, nil
}

// inline reads a command of words in one line.
func (r *Reader) inline(trusted bool) (whole bool, err error) {
	limit := 2 * r.limits.InlineBytes
	if !trusted {
		limit = min(limit, anonymousBulkBytes)
	}
	b := r.buf[r.start:r.end]
	i := bytes.IndexByte(b[r.scan:], '\n')
	if i < 0 {
		r.scan = len(b)
		if len(b) > limit {
			return false, ProtocolError("too big inline request")
		}
		return false, nil
	}
	end := r.scan + i
	if end > limit {
		return false, ProtocolError("too big inline request")
	}
	r.pos = end + 1
	line := bytes.TrimSuffix(b[:end], []byte{'\r'})
	var ok bool
	if r.marks, ok = splitInline(line, r.marks[:0]); !ok {
		return false, ProtocolError("unbalanced quotes in request")
	}
	if !trusted && len(r.marks) > 2*anonymousArgs {
		return false, ProtocolError("unauthenticated multibulk length")
	}
	return true, r.finish()
}

// foreign reports whether a command is the beginning of an HTTP request.
func foreign(name []byte) bool {
	return bytes.EqualFold(name, []byte("post")) || bytes.EqualFold(name, []byte("host:"))
}

func first(line []byte) byte {
	if len(line) == 0 {
		return '\r'
	}
	return line[0]
}

// length reads the decimal number of a length, as strictly as Redis does.
func length(b []byte) (n int, ok bool) {
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 18 || (b[0] == '0' && (len(b) > 1 || negative)) {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	if negative {
		n = -n
	}
	return n, true
}
