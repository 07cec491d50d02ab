from jiidm.report.tables import table


def test_tables_are_aligned():
    text = table([("sky", 0.278996, 3), ("mountain", 0.1, 12)], ["class", "share", "n"])
    assert text.splitlines() == [
        "| class    | share |   n |",
        "| -------- | ----: | --: |",
        "| sky      | 0.279 |   3 |",
        "| mountain |   0.1 |  12 |",
    ]
    assert table([], ["a"]).splitlines() == ["| a   |", "| --- |"]
