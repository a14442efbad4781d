package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version is what nodes report to each other and to operators.
const version = "0.1.0"

// build is what the version command prints as JSON.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func (p *program) versionCommand() *cobra.Command {
	return p.command("version", "Show the version of this program", cobra.NoArgs, []string{"output"}, func(_ context.Context, c *config, _ []string) error {
		b := build{Version: version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
		if info, ok := debug.ReadBuildInfo(); ok {
			for _, s := range info.Settings {
				if s.Key == "vcs.revision" {
					b.Commit = s.Value
				}
			}
		}
		if c.text("output") == "json" {
			return p.print(c, b, nil)
		}
		words := strings.Join(strings.Fields(b.Version+" "+b.Commit+" "+b.Go), " ")
		fmt.Fprintf(p.stdout, "atoll %s %s/%s\n", words, b.OS, b.Arch)
		return nil
	})
}
