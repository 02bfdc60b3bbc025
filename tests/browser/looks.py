"""What a reader sees of a table, measured in the page."""

# For each row of the table: its fields as text, and from where to where that text itself reaches.
FIELDS = """table => [...table.rows].map(row => [...row.cells].map(cell => {
    const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    const range = document.createRange();
    const boxes = [];
    while (walker.nextNode()) {
        range.selectNodeContents(walker.currentNode);
        boxes.push(range.getBoundingClientRect());
    }
    return {
        text: cell.innerText.trim(),
        left: Math.min(...boxes.map(box => box.left)),
        right: Math.max(...boxes.map(box => box.right)),
    };
}))"""

# Everything in the element that reaches out of `boundary`, with the text in it.
OVERFLOWING = """(element, boundary) => {
    const edge = element.closest(boundary).getBoundingClientRect().right;
    return [element, ...element.querySelectorAll('*')]
        .filter(part => part.getBoundingClientRect().right > edge + 0.5)
        .map(part => part.innerText);
}"""

# The colour of an element's text as it is seen, and of what lies behind it: colours that let something
# through are laid over what lies behind them.
COLOURS = """element => {
    const parse = text => {
        const [red, green, blue, alpha = 1] = text.match(/[\\d.]+/g).map(Number);
        return { colour: [red, green, blue], alpha };
    };
    const over = (top, alpha, bottom) => top.map((part, i) => part * alpha + bottom[i] * (1 - alpha));
    const around = [];
    for (let part = element; part; part = part.parentElement) around.unshift(part);
    let behind = [255, 255, 255], opacity = 1;
    for (const part of around) {
        const style = getComputedStyle(part);
        const ground = parse(style.backgroundColor);
        opacity *= Number(style.opacity);
        behind = over(ground.colour, ground.alpha * opacity, behind);
    }
    const text = parse(getComputedStyle(element).color);
    return [over(text.colour, text.alpha * opacity, behind), behind];
}"""


# The heads of columns of words.
WORDS = ("", "how", "cell", "label")


def check_alignment(table):
    """Asserts that the table's numbers end in one line a column, and words begin in one;
    returns the rows, their fields by the columns' names."""
    rows = table.evaluate(FIELDS)
    head, body = [field["text"] for field in rows[0]], rows[1:]
    assert len(body) > 1, rows
    for place, name in enumerate(head):
        fields = [row[place] for row in rows if row[place]["text"]]
        edge = "left" if name in WORDS else "right"
        edges = [field[edge] for field in fields]
        assert max(edges) - min(edges) <= 0.5, f"column `{name}` is ragged: {fields}"
    return [dict(zip(head, (field["text"] for field in row))) for row in body]


def contrast(element):
    """The contrast of an element's text with what is behind it, 1 to 21, as WCAG 2 defines it."""

    def luminance(colour):
        parts = [part / 255 for part in colour]
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    dark, light = sorted(map(luminance, element.evaluate(COLOURS)))
    return (light + 0.05) / (dark + 0.05)
