package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/atolldb/atoll/cmd/atoll/prompt"
	"github.com/atolldb/atoll/rpc/adminapi"
)

const (
	bundlePartMax  = 64 << 20         // bytes of one part
	bundlePartWait = 10 * time.Second // beyond what a profile takes
)

// bundlePart is one file of a bundle.
type bundlePart struct {
	name    string
	collect func(context.Context, io.Writer) error
}

// debugBundle collects what somebody far away needs to see what is wrong with a node. It holds no secret and no
// tenant's data. What can't be had is named in the bundle: the node may be what is broken.
func (p *program) debugBundle() *cobra.Command {
	keys := append(p.adminKeys(), "resp-addr", "resp-tls-addr", "resp-socket", "pprof-addr", "metrics-addr")
	var profile time.Duration
	c := p.command("bundle [FILE]", "Collect what is known about this machine's node into a .tar.gz", cobra.MaximumNArgs(1), keys,
		func(ctx context.Context, c *config, args []string) error {
			if profile < 0 || profile > time.Minute {
				return fmt.Errorf("--profile: %s is out of bounds: it takes 0s to 1m", profile)
			}
			path := "atoll-debug-" + time.Now().UTC().Format("20060102-150405") + ".tar.gz"
			if len(args) > 0 {
				path = args[0]
			}
			b := &bundler{program: p, config: c, profile: profile}
			if err := b.write(ctx, path); err != nil {
				return fmt.Errorf("bundle %s: %w", path, err)
			}
			fmt.Fprintln(p.stdout, path)
			return nil
		})
	c.Long = c.Short + `.

In it are the version, the effective configuration, what the admin API and INFO say, the names and sizes of
the files in the data directory, and, with --metrics-addr and --pprof-addr, metrics, goroutines, heap and a CPU profile. It holds no secret and
no keys or values. The names of namespaces and the addresses of clients are in it. What can't be had is named in errors.txt.`
	c.Flags().DurationVar(&profile, "profile", 5*time.Second, "how long the CPU profile takes, 0s to 1m; 0s: none")
	return c
}

// bundler writes one bundle.
type bundler struct {
	*program
	config  *config
	profile time.Duration
}

func (b *bundler) write(ctx context.Context, path string) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return plain(err)
	}
	zip := gzip.NewWriter(f)
	archive := tar.NewWriter(zip)
	defer func() {
		if err = errors.Join(err, archive.Close(), zip.Close(), f.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	var missing strings.Builder
	for _, part := range b.parts() {
		fmt.Fprintf(b.stderr, "atoll: collecting %s\n", part.name)
		data, err := b.collect(ctx, part)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			fmt.Fprintf(&missing, "%s: %v\n", part.name, err)
		}
		if err := addFile(archive, part.name, data); err != nil {
			return err
		}
	}
	return addFile(archive, "errors.txt", []byte(missing.String()))
}

// collect returns what a part wrote, also before an error.
func (b *bundler) collect(ctx context.Context, part bundlePart) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, b.profile+bundlePartWait)
	defer cancel()
	var out bytes.Buffer
	err := part.collect(ctx, &out)
	if out.Len() > bundlePartMax {
		out.Truncate(bundlePartMax)
		err = errors.Join(err, fmt.Errorf("cut at %d bytes", bundlePartMax))
	}
	return out.Bytes(), err
}

func addFile(archive *tar.Writer, name string, data []byte) error {
	h := &tar.Header{Name: "atoll-debug/" + name, Mode: 0o600, Size: int64(len(data)), ModTime: time.Now()}
	if err := archive.WriteHeader(h); err != nil {
		return err
	}
	_, err := archive.Write(data)
	return err
}

func (b *bundler) parts() []bundlePart {
	parts := []bundlePart{
		{"version.txt", b.version},
		{"config.json", func(_ context.Context, w io.Writer) error { return writeJSON(w, b.config.settings(false)) }},
		{"files.txt", b.files},
		{"info.txt", b.info},
	}
	for _, of := range []struct {
		name string
		ask  func(context.Context, *adminapi.Client) (any, error)
	}{
		{"cluster", func(ctx context.Context, c *adminapi.Client) (any, error) { return c.Cluster(ctx) }},
		{"nodes", func(ctx context.Context, c *adminapi.Client) (any, error) { return c.Nodes(ctx) }},
		{"groups", func(ctx context.Context, c *adminapi.Client) (any, error) { return c.Groups(ctx) }},
		{"namespaces", func(ctx context.Context, c *adminapi.Client) (any, error) { return c.Namespaces(ctx) }},
	} {
		parts = append(parts, bundlePart{"api/" + of.name + ".json", func(ctx context.Context, w io.Writer) error { return b.api(ctx, w, of.ask) }})
	}
	get := func(name, addr, path string) {
		url := "http://" + reachable(addr) + path
		parts = append(parts, bundlePart{name, func(ctx context.Context, w io.Writer) error { return fetch(ctx, w, url) }})
	}
	if addr := b.config.text("metrics-addr"); addr != "" {
		get("metrics.txt", addr, "/metrics")
	}
	if addr := b.config.text("pprof-addr"); addr != "" {
		get("goroutines.txt", addr, "/debug/pprof/goroutine?debug=2")
		get("heap.pprof", addr, "/debug/pprof/heap")
		if b.profile > 0 {
			get("cpu.pprof", addr, fmt.Sprintf("/debug/pprof/profile?seconds=%d", max(1, int(b.profile.Seconds()))))
		}
	}
	return parts
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (b *bundler) version(_ context.Context, w io.Writer) error {
	_, err := fmt.Fprintf(w, "atoll %s\nat %s\n", version, time.Now().UTC().Format(time.RFC3339))
	return err
}

// files lists the data directory: names, sizes and times alone.
func (b *bundler) files(ctx context.Context, w io.Writer) error {
	return filepath.WalkDir(b.config.text("data-dir"), func(path string, e fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) && path != b.config.text("data-dir") {
			return nil // a running node removes files
		}
		if err != nil {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s %12d %s %s\n", info.Mode(), info.Size(), info.ModTime().UTC().Format(time.RFC3339), path)
		return err
	})
}

// info is what the data node says to an admin.
func (b *bundler) info(ctx context.Context, w io.Writer) error {
	token, err := adminToken(b.config)
	if err != nil {
		return err
	}
	client := &prompt.Client{
		Name: cmp.Or(b.config.text("resp-socket"), b.config.text("resp-addr"), b.config.text("resp-tls-addr")),
		Dial: func(ctx context.Context) (net.Conn, error) { return dialRESP(ctx, b.config) }, Out: w, Token: token,
	}
	defer client.Close()
	return errors.Join(client.Do(ctx, []string{"INFO", "everything"}), client.Do(ctx, []string{"CLIENT", "LIST"}))
}

func (b *bundler) api(ctx context.Context, w io.Writer, ask func(context.Context, *adminapi.Client) (any, error)) error {
	token, err := adminToken(b.config)
	if err != nil {
		return err
	}
	client, err := apiClient(b.config, token)
	if err != nil {
		return err
	}
	defer client.Close()
	v, err := ask(ctx, client)
	if err != nil {
		return err
	}
	return writeJSON(w, v)
}

func fetch(ctx context.Context, w io.Writer, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: %s", url, resp.Status)
	}
	_, err = io.Copy(w, io.LimitReader(resp.Body, bundlePartMax+1))
	return err
}
