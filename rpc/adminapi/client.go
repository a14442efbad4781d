package adminapi

import (
	"bytes"
	"context"
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

// replyBytesMax bounds what the client reads of one answer: a page of namespaces is far smaller.
const replyBytesMax = 16 << 20

// pageLen is how many namespaces the client asks for at once.
const pageLen = 1000

// Client calls the admin API of one metadata node, any of the cluster. Its methods may be called from
// any goroutine. A refusal is a *Problem.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// NewClient returns a client of a metadata node's HTTP address (host:port, or a URL). The token may be
// empty for Health and Ready alone.
func NewClient(addr, token string) (*Client, error) {
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
	return &Client{base: strings.TrimSuffix(u.String(), "/"), token: token, http: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second},
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
	data, err := io.ReadAll(io.LimitReader(resp.Body, replyBytesMax))
	if err != nil {
		return nil, fmt.Errorf("read the admin API's answer: %w", err)
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

func namespace(name string) target { return at("/v1/namespaces").id("namespace", name) }

func node(id string) target { return at("/v1/nodes").id("node id", id) }

// CreateNamespace makes a namespace.
func (c *Client) CreateNamespace(ctx context.Context, in CreateNamespace, opts ...Option) (CreatedNamespace, error) {
	return call[CreatedNamespace](ctx, c, http.MethodPost, at("/v1/namespaces"), in, opts...)
}

// Namespaces returns every namespace, page by page, in the order of their names.
func (c *Client) Namespaces(ctx context.Context) ([]Namespace, error) {
	var all []Namespace
	after := ""
	for {
		q := url.Values{"limit": {strconv.Itoa(pageLen)}}
		if after != "" {
			q.Set("after", after)
		}
		page, err := call[NamespaceList](ctx, c, http.MethodGet, at("/v1/namespaces?"+q.Encode()), nil)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Namespaces...)
		if page.Next == "" {
			return all, nil
		}
		after = page.Next
	}
}

// Namespace returns one namespace.
func (c *Client) Namespace(ctx context.Context, name string) (Namespace, error) {
	return call[Namespace](ctx, c, http.MethodGet, namespace(name), nil)
}

// UpdateNamespace changes a namespace's settings.
func (c *Client) UpdateNamespace(ctx context.Context, name string, in UpdateNamespace, opts ...Option) (UpdatedNamespace, error) {
	return call[UpdatedNamespace](ctx, c, http.MethodPatch, namespace(name), in, opts...)
}

// DeleteNamespace deletes a namespace with its tokens and its data.
func (c *Client) DeleteNamespace(ctx context.Context, name string, opts ...Option) (Change, error) {
	return call[Change](ctx, c, http.MethodDelete, namespace(name), nil, opts...)
}

// Tombstones returns the deleted namespaces that are not purged everywhere.
func (c *Client) Tombstones(ctx context.Context) (TombstoneList, error) {
	return call[TombstoneList](ctx, c, http.MethodGet, at("/v1/tombstones"), nil)
}

// CreateToken makes a token of a namespace.
func (c *Client) CreateToken(ctx context.Context, name string, in CreateToken, opts ...Option) (CreatedTokenReply, error) {
	return call[CreatedTokenReply](ctx, c, http.MethodPost, namespace(name).then("/tokens"), in, opts...)
}

// Tokens returns the tokens of a namespace.
func (c *Client) Tokens(ctx context.Context, name string) (TokenList, error) {
	return call[TokenList](ctx, c, http.MethodGet, namespace(name).then("/tokens"), nil)
}

// RevokeToken ends a token of a namespace.
func (c *Client) RevokeToken(ctx context.Context, name, id string, opts ...Option) (Change, error) {
	return call[Change](ctx, c, http.MethodDelete, namespace(name).then("/tokens").id("token id", id), nil, opts...)
}

// Nodes returns the registered data nodes.
func (c *Client) Nodes(ctx context.Context) (NodeList, error) {
	return call[NodeList](ctx, c, http.MethodGet, at("/v1/nodes"), nil)
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
	return call[GroupList](ctx, c, http.MethodGet, at("/v1/groups"), nil)
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
