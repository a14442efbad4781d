package adminapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

const (
	// BackupPath is where a metadata node hands out a snapshot of the metadata.
	BackupPath = "/v1/backup"
	// RevisionHeader says which revision a backup holds.
	RevisionHeader = "Atoll-Revision"
)

// Backup writes a snapshot of the metadata to w, and returns the revision that it holds. It holds the cluster's keys. A
// snapshot carries its own checksum, which a restore looks at: after an error what was written is worth nothing.
func (c *Client) Backup(ctx context.Context, w io.Writer) (revision uint64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+BackupPath, nil)
	if err != nil {
		return 0, fmt.Errorf("build request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("call the admin API: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		data, err := io.ReadAll(io.LimitReader(resp.Body, replyBytesMax))
		if err != nil {
			return 0, fmt.Errorf("read the admin API's answer: %w", err)
		}
		return 0, problemOf(resp, data)
	}
	if revision, err = strconv.ParseUint(resp.Header.Get(RevisionHeader), 10, 64); err != nil {
		return 0, fmt.Errorf("the answer has no %s", RevisionHeader)
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return 0, fmt.Errorf("read the backup: %w", err)
	}
	return revision, nil
}
