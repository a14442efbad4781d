package adminapi

import (
	"context"
	"net/http"
	"strconv"
)

func deleted(id uint64) target {
	return at("/v1/deleted-namespaces").id("id", strconv.FormatUint(id, 10))
}

// CreateNamespace makes a namespace.
func (c *Client) CreateNamespace(ctx context.Context, in CreateNamespace, opts ...Option) (CreatedNamespace, error) {
	return call[CreatedNamespace](ctx, c, http.MethodPost, at("/v1/namespaces"), in, opts...)
}

// WithLabel lets only namespaces with a label, key=value, into a list. It may be given several times.
func WithLabel(label string) Option { return withQuery("label", label) }

// WithState lets only namespaces in a state (StateActive, StateSuspended or StateInGrace) into a list.
func WithState(state string) Option { return withQuery("state", state) }

// WithUsage adds to each namespace of a list what it uses.
func WithUsage() Option { return withQuery("usage", "true") }

func withQuery(name, value string) Option {
	return func(r *http.Request) {
		q := r.URL.Query()
		q.Add(name, value)
		r.URL.RawQuery = q.Encode()
	}
}

// Namespaces returns the namespaces, page by page, in the order of their names.
func (c *Client) Namespaces(ctx context.Context, opts ...Option) ([]Namespace, error) {
	return pages(at("/v1/namespaces"), func(to target) ([]Namespace, string, error) {
		page, err := call[NamespaceList](ctx, c, http.MethodGet, to, nil, opts...)
		return page.Namespaces, page.Next, err
	})
}

// Namespace returns one namespace, with its usage.
func (c *Client) Namespace(ctx context.Context, name string) (Namespace, error) {
	return call[Namespace](ctx, c, http.MethodGet, namespace(name), nil)
}

// UpdateNamespace changes a namespace's settings.
func (c *Client) UpdateNamespace(ctx context.Context, name string, in UpdateNamespace, opts ...Option) (UpdatedNamespace, error) {
	return call[UpdatedNamespace](ctx, c, http.MethodPatch, namespace(name), in, opts...)
}

// AtOnce makes a deletion pass over the grace: nothing brings the data back.
func AtOnce() Option { return withQuery("now", "true") }

// DeleteNamespace deletes a namespace with its tokens, and its data when its grace is over.
func (c *Client) DeleteNamespace(ctx context.Context, name string, opts ...Option) (DeletedNamespaceReply, error) {
	return call[DeletedNamespaceReply](ctx, c, http.MethodDelete, namespace(name), nil, opts...)
}

// DeletedNamespaces returns the namespaces in grace, and those whose rows are not purged everywhere, by id.
func (c *Client) DeletedNamespaces(ctx context.Context) ([]DeletedNamespace, error) {
	return pages(at("/v1/deleted-namespaces"), func(to target) ([]DeletedNamespace, string, error) {
		page, err := call[DeletedNamespaceList](ctx, c, http.MethodGet, to, nil)
		return page.Namespaces, page.Next, err
	})
}

// DeletedNamespace returns a deleted namespace.
func (c *Client) DeletedNamespace(ctx context.Context, id uint64) (DeletedNamespace, error) {
	return call[DeletedNamespace](ctx, c, http.MethodGet, deleted(id), nil)
}

// UndeleteNamespace brings a namespace in grace back.
func (c *Client) UndeleteNamespace(ctx context.Context, id uint64, in Undelete, opts ...Option) (CreatedNamespace, error) {
	return call[CreatedNamespace](ctx, c, http.MethodPost, deleted(id).then("/undelete"), in, opts...)
}

// PurgeNamespace ends a namespace's grace: its data is deleted at once.
func (c *Client) PurgeNamespace(ctx context.Context, id uint64, opts ...Option) (DeletedNamespaceReply, error) {
	return call[DeletedNamespaceReply](ctx, c, http.MethodPost, deleted(id).then("/purge"), nil, opts...)
}

func token(name, id string) target { return namespace(name).then("/tokens").id("token id", id) }

// CreateToken makes a token of a namespace.
func (c *Client) CreateToken(ctx context.Context, name string, in CreateToken, opts ...Option) (CreatedTokenReply, error) {
	return call[CreatedTokenReply](ctx, c, http.MethodPost, namespace(name).then("/tokens"), in, opts...)
}

// Tokens returns the tokens of a namespace, with their use.
func (c *Client) Tokens(ctx context.Context, name string) ([]Token, error) {
	return pages(namespace(name).then("/tokens"), func(to target) ([]Token, string, error) {
		page, err := call[TokenList](ctx, c, http.MethodGet, to, nil)
		return page.Tokens, page.Next, err
	})
}

// Token returns a token of a namespace, with its use.
func (c *Client) Token(ctx context.Context, name, id string) (Token, error) {
	return call[Token](ctx, c, http.MethodGet, token(name, id), nil)
}

// UpdateToken changes a token of a namespace.
func (c *Client) UpdateToken(ctx context.Context, name, id string, in UpdateToken, opts ...Option) (UpdatedToken, error) {
	return call[UpdatedToken](ctx, c, http.MethodPatch, token(name, id), in, opts...)
}

// RotateToken puts a new token in another's place.
func (c *Client) RotateToken(ctx context.Context, name, id string, in RotateToken, opts ...Option) (CreatedTokenReply, error) {
	return call[CreatedTokenReply](ctx, c, http.MethodPost, token(name, id).then("/rotate"), in, opts...)
}

// RevokeToken ends a token of a namespace.
func (c *Client) RevokeToken(ctx context.Context, name, id string, opts ...Option) (Change, error) {
	return call[Change](ctx, c, http.MethodDelete, token(name, id), nil, opts...)
}
