"""What root keeps and proves about the proxy: versions, trust anchors, readiness."""
