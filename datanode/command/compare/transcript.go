package compare

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// Transcripts runs every file in dir against connections that open makes, one for each file, to an empty
// server. A file is a list of
//
//	do [resp3] [sort[=n]]
//	SET key "a value\x00"
//	GET key
//	----
//	OK
//	"a value\x00"
//
// where all commands of a block are sent as one pipeline. With resp3 they are sent after HELLO 3; with sort,
// replies that are aggregates are compared as sets of elements, or of n neighbours each.
//
// To write the replies of a real server into the files: go test ./datanode/command -run
// TestTranscripts/redis -rewrite
func Transcripts(t *testing.T, dir string, open func(t *testing.T) Conn) {
	datadriven.Walk(t, dir, func(t *testing.T, path string) {
		c := open(t)
		proto := 2
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd != "do" {
				d.Fatalf(t, "unknown verb %s", d.Cmd)
			}
			want := 2
			if d.HasArg("resp3") {
				want = 3
			}
			if want != proto {
				proto = want
				if _, err := c.Do([]string{"HELLO", strconv.Itoa(proto)}); err != nil {
					d.Fatalf(t, "HELLO %d: %v", proto, err)
				}
			}
			group := 0
			for _, arg := range d.CmdArgs {
				if arg.Key == "sort" {
					group = 1
					if len(arg.Vals) > 0 {
						arg.Scan(t, 0, &group)
					}
				}
			}
			return transcript(t, d, c, group)
		})
	})
}

func transcript(t *testing.T, d *datadriven.TestData, c Conn, group int) string {
	var commands [][]string
	for line := range strings.Lines(d.Input) {
		words, err := Split(strings.TrimSpace(line))
		if err != nil {
			d.Fatalf(t, "%s: %v", line, err)
		}
		commands = append(commands, words)
	}
	replies, err := c.Do(commands...)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	var b strings.Builder
	for _, reply := range replies {
		if group > 0 {
			reply = reply.Sorted(group)
		}
		fmt.Fprintln(&b, reply)
	}
	return b.String()
}

// Split cuts a line into words; a word in double quotes is a Go string.
func Split(line string) ([]string, error) {
	var words []string
	for line = strings.TrimLeft(line, " "); line != ""; line = strings.TrimLeft(line, " ") {
		if line[0] != '"' {
			word, rest, _ := strings.Cut(line, " ")
			words, line = append(words, word), rest
			continue
		}
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			return nil, err
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, err
		}
		words, line = append(words, word), line[len(quoted):]
	}
	return words, nil
}
