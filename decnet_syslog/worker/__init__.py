"""The worker's wing: the tail, the bookmarks, the shipment, the forwarder."""
