package adminapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// replyBytesMax bounds what the client reads of one answer.
const replyBytesMax = 16 << 20

// pageLen is how many records of a list the client asks for at once. So many namespaces with all the labels that they
// take, each of their bytes two of JSON, are within replyBytesMax.
const pageLen = 400

// Client calls the admin API of one metadata node, any of the cluster. Its methods may be called from
// any goroutine. A refusal is a *Problem.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// ClientOption changes a client.
type ClientOption func(*http.Transport)

// WithTLS says which certificates the client takes of an https address.
func WithTLS(c *tls.Config) ClientOption {
	return func(t *http.Transport) { t.TLSClientConfig = c }
}

// NewClient returns a client of a metadata node's HTTP address (host:port, or a URL). The token may be
// empty for Health and Ready alone.
func NewClient(addr, token string, options ...ClientOption) (*Client, error) {
	if !strings.Contains(addr, "://") {
		addr = "http://" + addr
	}
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("admin address %q: it takes host:port or a URL", addr)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, errors.New("the admin token has control characters")
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second}
	for _, o := range options {
		o(transport)
	}
	return &Client{base: strings.TrimSuffix(u.String(), "/"), token: token, http: &http.Client{
		Transport: transport,
		// The API never redirects. What does would carry a change, and the token, to another path.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close ends the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Option changes one request.
type Option func(*http.Request)

// WithIdempotencyKey makes retries that carry the same key have one effect.
func WithIdempotencyKey(key string) Option {
	return func(r *http.Request) { r.Header.Set(IdempotencyKey, key) }
}

// WithIfMatch makes a change refused, with CodeMismatch, unless its subject's modified_revision is this.
func WithIfMatch(revision uint64) Option {
	return func(r *http.Request) { r.Header.Set(IfMatch, ETag(revision)) }
}

// ETag returns the ETag of a record.
func ETag(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }

// WaitApplied makes a change answer when every live data node has applied it, or after d (at most 60
// seconds), with the nodes that have not.
func WaitApplied(d time.Duration) Option {
	return func(r *http.Request) {
		q := r.URL.Query()
		q.Set("wait", "applied")
		q.Set("wait_ms", strconv.FormatInt(d.Milliseconds(), 10))
		r.URL.RawQuery = q.Encode()
	}
}

// call sends one request, with in as its body if not nil, and returns the decoded answer.
func call[T any](ctx context.Context, c *Client, method string, to target, in any, opts ...Option) (T, error) {
	var out T
	if to.err != nil {
		return out, to.err
	}
	data, err := c.do(ctx, method, to.path, in, opts)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return out, fmt.Errorf("decode the admin API's answer: %w", err)
	}
	return out, nil
}

// do sends one request and returns the body of a successful answer.
func (c *Client) do(ctx context.Context, method, path string, in any, opts []Option) ([]byte, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("build request: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for _, o := range opts {
		o(req)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("call the admin API: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, replyBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("read the admin API's answer: %w", err)
	}
	if len(data) > replyBytesMax {
		return nil, fmt.Errorf("the admin API's answer is longer than %d bytes", replyBytesMax)
	}
	if resp.StatusCode/100 != 2 {
		return nil, problemOf(resp, data)
	}
	return data, nil
}

func problemOf(resp *http.Response, data []byte) error {
	p := &Problem{}
	if json.Unmarshal(data, p) != nil || p.Status == 0 {
		p = &Problem{Title: http.StatusText(resp.StatusCode)}
	}
	p.Status = resp.StatusCode
	return p
}

// target is the path of a request; err says why it must not be sent.
type target struct {
	path string
	err  error
}

func at(path string) target { return target{path: path} }

// then appends a fixed part.
func (t target) then(path string) target { return target{t.path + path, t.err} }

// id appends what the caller named. Servers and proxies take empty and dotted segments out of a path, so
// that the request would be about something else.
func (t target) id(field, value string) target {
	if value == "" || value == "." || value == ".." {
		return target{t.path, errors.Join(t.err, fmt.Errorf("%s %q: an HTTP path can't hold it", field, value))}
	}
	return t.then("/" + url.PathEscape(value))
}

// pages returns everything of a list that comes in pages. The next one begins after what the last one named.
func pages[T any](to target, fetch func(target) ([]T, string, error)) ([]T, error) {
	all := []T{}
	q := url.Values{"limit": {strconv.Itoa(pageLen)}}
	for {
		page, next, err := fetch(to.then("?" + q.Encode()))
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if next == "" {
			return all, nil
		}
		q.Set("after", next)
	}
}

func namespace(name string) target { return at("/v1/namespaces").id("namespace", name) }

func node(id string) target { return at("/v1/nodes").id("node id", id) }

// Nodes returns the registered data nodes.
func (c *Client) Nodes(ctx context.Context) (NodeList, error) {
	var last NodeList
	all, err := pages(at("/v1/nodes"), func(to target) ([]Node, string, error) {
		var err error
		last, err = call[NodeList](ctx, c, http.MethodGet, to, nil)
		return last.Nodes, last.Next, err
	})
	return NodeList{Revision: last.Revision, Nodes: all}, err
}

// Node returns one data node.
func (c *Client) Node(ctx context.Context, id string) (Node, error) {
	return call[Node](ctx, c, http.MethodGet, node(id), nil)
}

// RemoveNode forgets a data node.
func (c *Client) RemoveNode(ctx context.Context, id string, opts ...Option) (Change, error) {
	return call[Change](ctx, c, http.MethodDelete, node(id), nil, opts...)
}

// Groups returns the groups.
func (c *Client) Groups(ctx context.Context) (GroupList, error) {
	var last GroupList
	all, err := pages(at("/v1/groups"), func(to target) ([]Group, string, error) {
		var err error
		last, err = call[GroupList](ctx, c, http.MethodGet, to, nil)
		return last.Groups, last.Next, err
	})
	return GroupList{Revision: last.Revision, Groups: all}, err
}

// Promote makes a replica of a group its primary.
func (c *Client) Promote(ctx context.Context, group uint32, in Promote, opts ...Option) (PromoteReply, error) {
	return call[PromoteReply](ctx, c, http.MethodPost, at(fmt.Sprintf("/v1/groups/%d/promote", group)), in, opts...)
}

// Cluster returns the metadata service's state.
func (c *Client) Cluster(ctx context.Context) (Cluster, error) {
	return call[Cluster](ctx, c, http.MethodGet, at("/v1/cluster"), nil)
}

// Ready returns nil when the metadata node has a leader and an initialised state.
func (c *Client) Ready(ctx context.Context) error {
	_, err := call[Health](ctx, c, http.MethodGet, at("/readyz"), nil)
	return err
}

// Alive returns nil when the metadata node's process answers and its Raft has not stopped.
func (c *Client) Alive(ctx context.Context) error {
	_, err := call[Health](ctx, c, http.MethodGet, at("/healthz"), nil)
	return err
}

// RemoveMetadataNode takes a stopped metadata node out of the cluster.
func (c *Client) RemoveMetadataNode(ctx context.Context, id string) (Change, error) {
	return call[Change](ctx, c, http.MethodDelete, at("/v1/metadata-nodes").id("node id", id), nil)
}

// TransferLeadership has another metadata node lead.
func (c *Client) TransferLeadership(ctx context.Context, in Transfer) (Change, error) {
	return call[Change](ctx, c, http.MethodPost, at("/v1/metadata-nodes/transfer"), in)
}
