// Package prompt is the client behind `atoll cli`: it sends the commands that a person types, or a script gives, to a
// RESP server, and shows the replies as redis-cli does.
package prompt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/atolldb/atoll/datanode"
)

// ErrReplies says that the server answered some commands with errors, which were printed.
var ErrReplies = errors.New("the server answered with an error")

// Client is one connection to a server, made when it is first needed and again after it broke.
type Client struct {
	Name string // of the server, before the prompt
	// Dial connects.
	Dial func(context.Context) (net.Conn, error)
	// Token, if any, is sent to authenticate each connection.
	Token  string
	Pretty bool // replies as for a person
	Out    io.Writer

	conn   net.Conn
	stop   func() bool // what ends the connection with its context
	in     *bufio.Reader
	db     int
	failed int // commands answered with an error
}

// Close ends the connection.
func (c *Client) Close() error {
	if c.conn == nil {
		return nil
	}
	c.stop()
	err := c.conn.Close()
	c.conn = nil
	if errors.Is(err, net.ErrClosed) { // by its context
		return nil
	}
	return err
}

// connect makes the connection if there is none, authenticated and with its database.
func (c *Client) connect(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	conn, err := c.Dial(ctx)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", c.Name, err)
	}
	c.conn, c.in = conn, bufio.NewReaderSize(conn, lineBytesMax)
	// Whoever interrupts a command doesn't wait for its reply.
	c.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	var greeting [][]string
	if c.Token != "" {
		greeting = append(greeting, []string{"AUTH", c.Token})
	}
	if c.db != 0 {
		greeting = append(greeting, []string{"SELECT", strconv.Itoa(c.db)})
	}
	for _, words := range greeting {
		v, err := c.call(words)
		if err == nil && v.failed() {
			err = fmt.Errorf("%s: %s", words[0], v.text)
		}
		if err != nil {
			return errors.Join(err, c.Close())
		}
	}
	return nil
}

// call sends one command and reads its reply.
func (c *Client) call(words []string) (reply, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := io.WriteString(c.conn, b.String()); err != nil {
		return reply{}, err
	}
	return readReply(c.in, 0)
}

// Do sends one command and prints its reply. MONITOR prints until the context or the connection ends.
func (c *Client) Do(ctx context.Context, words []string) error {
	if err := c.connect(ctx); err != nil {
		return err
	}
	v, err := c.call(words)
	for first := true; ; first = false {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: the connection broke: %w", strings.ToUpper(words[0]), err), c.Close())
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
		if err := c.print(&v); err != nil {
			return err
		}
		if first {
			c.note(words, &v)
		}
		if !strings.EqualFold(words[0], "monitor") || v.failed() {
			return nil
		}
		v, err = readReply(c.in, 0)
	}
}

// note keeps what a command changes of the connection, for the next one.
func (c *Client) note(words []string, v *reply) {
	switch {
	case v.failed():
		c.failed++
	case strings.EqualFold(words[0], "select") && len(words) == 2:
		if n, err := strconv.Atoi(words[1]); err == nil {
			c.db = n
		}
	case strings.EqualFold(words[0], "auth"):
		c.Token, c.db = words[len(words)-1], 0
	case strings.EqualFold(words[0], "reset"):
		c.Token, c.db = "", 0
	}
}

func (c *Client) print(v *reply) error {
	var b strings.Builder
	if c.Pretty {
		v.pretty(&b, "")
	} else {
		v.raw(&b)
	}
	_, err := io.WriteString(c.Out, b.String())
	return err
}

// Script runs the commands of the lines of in, until its end or the first error of the connection.
func (c *Client) Script(ctx context.Context, in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, bulkBytesMax)
	for n := 1; lines.Scan(); n++ {
		words, ok := datanode.SplitInline(lines.Bytes())
		if !ok {
			return fmt.Errorf("line %d: its quotes don't match", n)
		}
		if len(words) == 0 {
			continue
		}
		if err := c.Do(ctx, words); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read commands: %w", err)
	}
	return c.Err()
}

// Err returns ErrReplies if a command was answered with an error.
func (c *Client) Err() error {
	if c.failed == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d of the commands", ErrReplies, c.failed)
}

// Interact reads commands from a terminal until its end. historyPath names the file that keeps the lines; empty: none.
func (c *Client) Interact(ctx context.Context, terminal io.ReadWriter, raw func() (restore func(), err error), historyPath string) error {
	h, comp := openHistory(historyPath), &completer{commands: datanode.Commands()}
	t := term.NewTerminal(terminal, "")
	t.History, t.AutoCompleteCallback = h, comp.complete
	for ctx.Err() == nil {
		t.SetPrompt(c.label())
		line, err := readTyped(t, raw)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errors.Join(fmt.Errorf("read the terminal: %w", err), h.save())
		}
		if leave := c.typed(ctx, comp, line); leave {
			break
		}
	}
	return h.save()
}

// readTyped reads one line with the terminal in raw mode, and leaves it in the mode that it had: a command that
// runs long can be interrupted.
func readTyped(t *term.Terminal, raw func() (func(), error)) (string, error) {
	restore, err := raw()
	if err != nil {
		return "", err
	}
	defer restore()
	line, err := t.ReadLine()
	if errors.Is(err, term.ErrPasteIndicator) { // a pasted line is a line
		err = nil
	}
	return line, err
}

// label is the prompt.
func (c *Client) label() string {
	switch {
	case c.conn == nil:
		return "not connected to " + c.Name + "> "
	case c.db != 0:
		return fmt.Sprintf("%s[%d]> ", c.Name, c.db)
	}
	return c.Name + "> "
}

// typed runs one line of a person; leave says that it asked to.
func (c *Client) typed(ctx context.Context, comp *completer, line string) (leave bool) {
	words, ok := datanode.SplitInline([]byte(line))
	switch {
	case !ok:
		fmt.Fprintln(c.Out, "Invalid argument(s)")
	case len(words) == 0:
	case strings.EqualFold(words[0], "quit"), strings.EqualFold(words[0], "exit"):
		return true
	case strings.EqualFold(words[0], "help"), words[0] == "?":
		fmt.Fprint(c.Out, comp.help(words[1:]))
	default:
		if err := c.Do(ctx, words); err != nil {
			fmt.Fprintln(c.Out, err)
		}
	}
	return false
}
