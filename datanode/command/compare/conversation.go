package compare

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// Conversations runs a file of what several connections to one server say and hear:
//
//	talk
//	a: SUBSCRIBE news
//	b: PUBLISH news hello; PING
//	----
//	a: SUBSCRIBE news
//	  a array of 3
//	  ...
//
// A connection is dialled where its name first stands. Commands between semicolons are sent as one pipeline. After each
// line every connection is asked for a PING of its own, first the one that spoke: what it is sent before the answer has
// been caused by then, and is shown, each value behind the connection's name. With quit as its first word, a connection
// reads until its end instead.
func Conversations(t *testing.T, path string, dial func() net.Conn) {
	p := &party{by: make(map[string]*talker), dial: dial}
	t.Cleanup(func() {
		for _, name := range p.names {
			_ = p.by[name].Close()
		}
	})
	datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
		if d.Cmd != "talk" {
			d.Fatalf(t, "unknown verb %s", d.Cmd)
		}
		var b strings.Builder
		for line := range strings.Lines(d.Input) {
			line = strings.TrimSpace(line)
			fmt.Fprintln(&b, line)
			if err := p.say(&b, line); err != nil {
				d.Fatalf(t, "%s: %v", line, err)
			}
		}
		return b.String()
	})
}

type party struct {
	dial  func() net.Conn
	names []string
	by    map[string]*talker
	pings int
}

type talker struct {
	net.Conn
	r *bufio.Reader
}

func (p *party) say(b *strings.Builder, line string) error {
	name, text, ok := strings.Cut(line, ": ")
	if !ok {
		return fmt.Errorf("nobody says it")
	}
	c := p.by[name]
	if c == nil {
		nc := p.dial()
		c = &talker{nc, bufio.NewReader(nc)}
		p.by[name] = c
		p.names = append(p.names, name)
	}
	var commands [][]string
	for part := range strings.SplitSeq(text, ";") {
		words, err := Split(strings.TrimSpace(part))
		if err != nil {
			return err
		}
		commands = append(commands, words)
	}
	if _, err := c.Write(Encode(commands...)); err != nil {
		return err
	}
	order := append([]string{name}, slices.DeleteFunc(slices.Clone(p.names), func(n string) bool { return n == name })...)
	for _, n := range order {
		if err := p.hear(b, n, n == name && strings.EqualFold(commands[0][0], "quit")); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	return nil
}

// hear shows what a connection has been sent.
func (p *party) hear(b *strings.Builder, name string, end bool) error {
	c := p.by[name]
	p.pings++
	mark := fmt.Sprintf("ping-%d", p.pings)
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if !end {
		if _, err := c.Write(Encode([]string{"PING", mark})); err != nil {
			return err
		}
	}
	for {
		v, err := Read(c.r)
		if end && err != nil {
			p.names = slices.DeleteFunc(p.names, func(n string) bool { return n == name })
			delete(p.by, name)
			return c.Close()
		}
		if err != nil {
			return err
		}
		if v.Text == mark || len(v.List) == 2 && v.List[0].Text == "pong" && v.List[1].Text == mark {
			return nil
		}
		if len(v.List) > 0 && v.List[0].Text == "server" {
			v.List = v.List[:1] // what HELLO says is each server's own
		}
		for line := range strings.Lines(v.String()) {
			fmt.Fprintf(b, "  %s %s\n", name, strings.TrimRight(line, "\n"))
		}
	}
}
