package prompt

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The bounds of a reply: what the server sends is not trusted with this process's memory or stack.
const (
	lineBytesMax = 64 << 10
	bulkBytesMax = 512 << 20
	depthMax     = 64
)

var errProtocol = errors.New("what the server sent is no RESP")

// reply is one value of RESP2 or RESP3.
type reply struct {
	kind  byte    // its first byte on the wire; '_' is every form of null
	text  string  // of a scalar
	items []reply // of an aggregate; a map's keys and values in turn
}

// readReply reads one whole reply.
func readReply(r *bufio.Reader, depth int) (reply, error) {
	if depth > depthMax {
		return reply{}, fmt.Errorf("%w: aggregates lie deeper than %d", errProtocol, depthMax)
	}
	line, err := readLine(r)
	if err != nil {
		return reply{}, err
	}
	v := reply{kind: line[0], text: line[1:]}
	switch v.kind {
	case '+', '-', ':', ',', '#', '(':
		return v, nil
	case '_':
		return reply{kind: '_'}, nil
	case '$', '=', '!':
		return readBulk(r, v)
	case '*', '~', '>', '%', '|':
		return readItems(r, v, depth)
	}
	return reply{}, fmt.Errorf("%w: it begins with %q", errProtocol, line[:1])
}

// readLine reads a line that isn't empty, without its end.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", fmt.Errorf("%w: a line is longer than %d bytes", errProtocol, lineBytesMax)
	}
	if err != nil {
		return "", err
	}
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok || text == "" {
		return "", fmt.Errorf("%w: a line is empty or ends without CR", errProtocol)
	}
	return text, nil
}

func readBulk(r *bufio.Reader, v reply) (reply, error) {
	n, err := strconv.Atoi(v.text)
	if n == -1 && err == nil {
		return reply{kind: '_'}, nil
	}
	if err != nil || n < 0 || n > bulkBytesMax {
		return reply{}, fmt.Errorf("%w: a string of %q bytes", errProtocol, v.text)
	}
	var b strings.Builder // grows as bytes come, whatever was announced
	if _, err := io.CopyN(&b, r, int64(n)); err != nil {
		return reply{}, noEOF(err)
	}
	var end [2]byte
	if _, err := io.ReadFull(r, end[:]); err != nil {
		return reply{}, noEOF(err)
	}
	if end != [2]byte{'\r', '\n'} {
		return reply{}, fmt.Errorf("%w: a string doesn't end where it should", errProtocol)
	}
	v.text = b.String()
	if v.kind == '=' && len(v.text) >= 4 { // the format, such as txt:
		v.text = v.text[4:]
	}
	return v, nil
}

func readItems(r *bufio.Reader, v reply, depth int) (reply, error) {
	n, err := strconv.Atoi(v.text)
	if n == -1 && err == nil {
		return reply{kind: '_'}, nil
	}
	if err != nil || n < 0 || n > bulkBytesMax {
		return reply{}, fmt.Errorf("%w: an aggregate of %q", errProtocol, v.text)
	}
	if v.kind == '%' || v.kind == '|' {
		n *= 2
	}
	v.text = ""
	for range n {
		item, err := readReply(r, depth+1)
		if err != nil {
			return reply{}, noEOF(err)
		}
		v.items = append(v.items, item)
	}
	if v.kind == '|' { // attributes: what they are about follows
		return readReply(r, depth+1)
	}
	return v, nil
}

// noEOF tells an end in the middle of a reply from one between two.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// failed reports whether the server answered an error.
func (v *reply) failed() bool { return v.kind == '-' || v.kind == '!' }

// raw writes the reply as redis-cli does where no person reads it: strings as they are, items in lines.
func (v *reply) raw(b *strings.Builder) {
	if v.items == nil {
		b.WriteString(v.text + "\n")
		return
	}
	for i := range v.items {
		v.items[i].raw(b)
	}
}

// pretty writes the reply as redis-cli does at a terminal. Lines behind the first are indented.
func (v *reply) pretty(b *strings.Builder, indent string) {
	switch v.kind {
	case '_':
		b.WriteString("(nil)\n")
	case '-', '!':
		b.WriteString("(error) " + v.text + "\n")
	case ':':
		b.WriteString("(integer) " + v.text + "\n")
	case ',':
		b.WriteString("(double) " + v.text + "\n")
	case '#':
		b.WriteString(map[string]string{"t": "(true)", "f": "(false)"}[v.text] + "\n")
	case '$':
		b.WriteString(quote(v.text) + "\n")
	case '*', '~', '>':
		v.prettyItems(b, indent)
	case '%':
		v.prettyPairs(b, indent)
	default:
		b.WriteString(strings.TrimSuffix(v.text, "\n") + "\n")
	}
}

func (v *reply) prettyItems(b *strings.Builder, indent string) {
	if len(v.items) == 0 {
		b.WriteString(map[byte]string{'*': "(empty array)\n", '~': "(empty set)\n", '>': "(empty push)\n"}[v.kind])
		return
	}
	width := len(strconv.Itoa(len(v.items)))
	for i := range v.items {
		if i > 0 {
			b.WriteString(indent)
		}
		head := fmt.Sprintf("%*d%c ", width, i+1, map[byte]byte{'*': ')', '~': '~', '>': '>'}[v.kind])
		b.WriteString(head)
		v.items[i].pretty(b, indent+strings.Repeat(" ", len(head)))
	}
}

func (v *reply) prettyPairs(b *strings.Builder, indent string) {
	if len(v.items) == 0 {
		b.WriteString("(empty hash)\n")
		return
	}
	width := len(strconv.Itoa(len(v.items) / 2))
	for i := 0; i+1 < len(v.items); i += 2 {
		if i > 0 {
			b.WriteString(indent)
		}
		head := fmt.Sprintf("%*d# ", width, i/2+1)
		var key strings.Builder
		v.items[i].pretty(&key, indent)
		b.WriteString(head + strings.TrimSuffix(key.String(), "\n") + " => ")
		v.items[i+1].pretty(b, indent+strings.Repeat(" ", len(head)))
	}
}

// quote writes a string as redis-cli does: bytes outside of printable ASCII as \xHH.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '\\', '"':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		case '\a':
			b.WriteString(`\a`)
		case '\b':
			b.WriteString(`\b`)
		default:
			if c < ' ' || c > '~' {
				fmt.Fprintf(&b, `\x%02x`, c)
			} else {
				b.WriteByte(c)
			}
		}
	}
	b.WriteByte('"')
	return b.String()
}
