package adminapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/atolldb/atoll/rpc/audit"
)

// AuditList is one page of the records of changes, the oldest first.
type AuditList struct {
	Revision uint64         `json:"revision"`
	Records  []audit.Record `json:"records"`
	Next     uint64         `json:"next,omitempty" doc:"pass as after to get the next page; absent on the last"`
}

// StateChange is what one or more changes did to the metadata. Whole records are given, as they are after them.
type StateChange struct {
	FromRevision      uint64      `json:"from_revision" doc:"the change applies to a state at or above it and below revision"`
	Revision          uint64      `json:"revision" doc:"of the state after the change"`
	Namespaces        []Namespace `json:"namespaces,omitempty" doc:"added or changed"`
	RemovedNamespaces []uint64    `json:"removed_namespaces,omitempty" doc:"ids: deleted, or deleted and purged everywhere"`
	Tokens            []Token     `json:"tokens,omitempty" doc:"added or changed"`
	RemovedTokens     []string    `json:"removed_tokens,omitempty" doc:"ids"`
	Nodes             []Node      `json:"nodes,omitempty" doc:"registered or changed, without what they report"`
	RemovedNodes      []string    `json:"removed_nodes,omitempty" doc:"ids"`
	Groups            []Group     `json:"groups,omitempty" doc:"added or changed"`
}

// Reset ends a stream whose place is not remembered any more: list again, and begin after the list's revision.
type Reset struct {
	Revision uint64 `json:"revision" doc:"of the state of the node that answers"`
}

// Heartbeat says that nothing has happened.
type Heartbeat struct {
	Revision uint64 `json:"revision" doc:"of the state of the node that answers"`
}

// AuditFilter says which records of changes are asked for. Empty fields ask for all.
type AuditFilter struct {
	After     uint64 // revision
	Namespace string // name, or the id of a deleted one
	Actor     string // id of a token or of a node
	Last      int    // only so many, the newest; 0: all
}

// Audit returns the records of changes that a filter lets through, the oldest first.
func (c *Client) Audit(ctx context.Context, f AuditFilter) ([]audit.Record, error) {
	var all []audit.Record
	for {
		q := url.Values{"limit": {strconv.Itoa(pageLen)}}
		for name, value := range map[string]string{"after": numeral(f.After), "namespace": f.Namespace, "actor": f.Actor, "last": numeral(uint64(f.Last))} {
			if value != "" {
				q.Set(name, value)
			}
		}
		page, err := call[AuditList](ctx, c, http.MethodGet, at("/v1/audit?"+q.Encode()), nil)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Records...)
		if page.Next == 0 {
			return all, nil
		}
		f.After = page.Next
	}
}

func numeral(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

// ErrReset says that a stream's place is not remembered any more.
var ErrReset = errors.New("the changes asked for are not remembered any more: list again, and begin after the list's revision")

// Events calls f with the record of each change after a revision (0: of those to come), until the context ends, f returns an
// error, or the stream breaks. After ErrReset some records were missed.
func (c *Client) Events(ctx context.Context, after uint64, f func(audit.Record) error) error {
	return c.stream(ctx, "/v1/events", after, "audit", func(data []byte) error {
		var r audit.Record
		if err := json.Unmarshal(data, &r); err != nil {
			return fmt.Errorf("decode the record of a change: %w", err)
		}
		return f(r)
	})
}

// Watch calls f with what changes after a revision, until the context ends, f returns an error, or the stream breaks.
func (c *Client) Watch(ctx context.Context, after uint64, f func(StateChange) error) error {
	return c.stream(ctx, "/v1/watch", after, "change", func(data []byte) error {
		var s StateChange
		if err := json.Unmarshal(data, &s); err != nil {
			return fmt.Errorf("decode a change: %w", err)
		}
		return f(s)
	})
}

// stream reads server-sent events and hands on those of one name.
func (c *Client) stream(ctx context.Context, path string, after uint64, name string, f func([]byte) error) error {
	if after > 0 {
		path += "?after=" + numeral(after)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return fmt.Errorf("build request: %w", err)
	}
	req.Header.Set("Accept", "text/event-stream, application/problem+json")
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("call the admin API: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		data, err := io.ReadAll(io.LimitReader(resp.Body, replyBytesMax))
		if err != nil {
			return fmt.Errorf("read the admin API's answer: %w", err)
		}
		return problemOf(resp, data)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, replyBytesMax)
	event := ""
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case field == "event":
			event = value
		case field == "data" && event == "reset":
			return ErrReset
		case field == "data" && event == name:
			if err := f([]byte(value)); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the stream: %w", err)
	}
	return io.ErrUnexpectedEOF
}
