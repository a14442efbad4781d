package prompt

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// historyMax bounds the lines that are kept, in memory and in the file.
const historyMax = 1000

// history is the lines that were typed, the newest last, and the file that keeps them. Lines with secrets are not kept.
type history struct {
	path  string // empty: in memory alone
	lines []string
	err   error // the first of the file
}

// openHistory reads a file of earlier lines. A missing one is an empty one.
func openHistory(path string) *history {
	h := &history{path: path}
	if path == "" {
		return h
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return h
	}
	if err != nil {
		h.err = err
		return h
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		h.keep(lines.Text())
	}
	h.err = lines.Err()
	return h
}

func (h *history) keep(line string) {
	h.lines = append(h.lines, line)
	if len(h.lines) > historyMax {
		h.lines = h.lines[len(h.lines)-historyMax:]
	}
}

// Add implements term.History.
func (h *history) Add(line string) {
	if strings.TrimSpace(line) == "" || secret(line) || len(h.lines) > 0 && h.lines[len(h.lines)-1] == line {
		return
	}
	h.keep(line)
}

// Len implements term.History.
func (h *history) Len() int { return len(h.lines) }

// At implements term.History: 0 is the newest.
func (h *history) At(i int) string { return h.lines[len(h.lines)-1-i] }

// save writes the lines to the file, which is its owner's alone.
func (h *history) save() error {
	if h.path == "" || h.err != nil {
		return h.err
	}
	temp := h.path + ".tmp"
	data := strings.Join(h.lines, "\n") + "\n"
	if err := os.WriteFile(temp, []byte(data), 0o600); err != nil {
		return fmt.Errorf("save the history: %w", err)
	}
	if err := os.Rename(temp, h.path); err != nil {
		return fmt.Errorf("save the history: %w", err)
	}
	return nil
}

// secret reports whether a line may hold a token.
func secret(line string) bool {
	words := strings.Fields(strings.ToLower(strings.NewReplacer(`"`, "", `'`, "").Replace(line)))
	if len(words) == 0 {
		return false
	}
	switch words[0] {
	case "auth", "hello", "namespace", "acl", "config", "migrate":
		return len(words) > 1
	}
	return false
}
