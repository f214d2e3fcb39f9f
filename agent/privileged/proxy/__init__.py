"""What root stores and checks about the proxy: versions, trust anchors, readiness."""
